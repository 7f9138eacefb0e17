// Switching from one stack to another: x86-64 in twelve instructions, elsewhere by ucontext.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && !defined(PYFORMER_EMULATED_UCONTEXT)
// Saves the callee-saved registers on the stack it leaves, takes them from the one it enters. System V ABI.
extern "C" void pyformer_emulated_switch(void** from, void* to);
asm(R"(
.pushsection .text
.weak pyformer_emulated_switch
.hidden pyformer_emulated_switch
.type pyformer_emulated_switch, @function
pyformer_emulated_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size pyformer_emulated_switch, .-pyformer_emulated_switch
.popsection
)");

namespace pyformer::emulated {

struct Context {
  void* stack_pointer = nullptr;
};
inline void prepare(Context& context, unsigned char* stack, size_t bytes, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + bytes);
  *--top = nullptr;                         // keeps the stack 16-byte aligned on entry
  *--top = reinterpret_cast<void*>(entry);  // where the first switch returns to
  for (int r = 0; r < 6; ++r) *--top = nullptr;
  context.stack_pointer = top;
}
inline void switch_stack(Context& from, Context& to) {
  pyformer_emulated_switch(&from.stack_pointer, to.stack_pointer);
}

}  // namespace pyformer::emulated

#else
#include <ucontext.h>

namespace pyformer::emulated {

struct Context {
  ucontext_t context;
};
inline void prepare(Context& context, unsigned char* stack, size_t bytes, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = bytes;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}
inline void switch_stack(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

}  // namespace pyformer::emulated
#endif
