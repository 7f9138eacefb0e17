// ThreadSanitizer's view of fibers. PYFORMER_EMULATED_RACES says that the kernels are compiled with -fsanitize=thread;
// the emulator itself is not.
#pragma once

#if defined(PYFORMER_EMULATED_RACES)
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_func_entry(void* caller);
void __tsan_func_exit(void);
void __tsan_acquire(void* object);
void __tsan_release(void* object);
void __tsan_read_range(void* data, unsigned long bytes);
void __tsan_write_range(void* data, unsigned long bytes);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace pyformer::emulated {

#if defined(PYFORMER_EMULATED_RACES)
constexpr bool kRacesAreWatched = true;
constexpr unsigned kNoOrder = 1;  // a switch of fibers orders no memory
inline void* current_fiber() { return __tsan_get_current_fiber(); }
inline void* new_fiber() { return __tsan_create_fiber(0); }
inline void end_fiber(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void enter_fiber(void* fiber) { __tsan_switch_to_fiber(fiber, kNoOrder); }
// What is done until the end is told as done by the line that called.
inline void begin_function(void* caller) { __tsan_func_entry(caller); }
inline void end_function() { __tsan_func_exit(); }

// What the emulator does on behalf of threads is no race of theirs.
struct Unwatched {
  Unwatched() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unwatched() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};
#else
constexpr bool kRacesAreWatched = false;
inline void* current_fiber() { return nullptr; }
inline void* new_fiber() { return nullptr; }
inline void end_fiber(void*) {}
inline void enter_fiber(void*) {}
inline void begin_function(void*) {}
inline void end_function() {}
struct Unwatched {
  ~Unwatched() {}
};
#endif

}  // namespace pyformer::emulated
