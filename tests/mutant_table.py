"""The mistakes that `mutants.py` makes, and the tests that must notice."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A mistake: `old` becomes `new`, and one of `tests` fails."""

    name: str
    old: str
    new: str
    tests: tuple[str, ...]

    def place(self, sources: Iterable[Path]) -> tuple[Path, str]:
        """The file and its content with the mistake in it; ValueError unless there is exactly one place."""
        found = []
        for path in sources:
            text = path.read_text()
            found += [(path, text.replace(self.old, self.new))] * text.count(self.old)
        if len(found) != 1:
            raise ValueError(f"its old text is found {len(found)} times")
        return found[0]


def mutant(name: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, old, new, tests)


def unsaved(op: str, captured: str, variable: str, case: str) -> Mutant:
    """An op whose backward would not notice that what it keeps was written to: the tensor of that name, or an array."""
    saved = re.search(rf"\b{variable} = save\((\w+)\)", captured)
    assert saved, captured
    array = f"{variable}.array()" if saved[1] == variable else saved[1]
    unguarded = f"{variable} = [kept = Array({array})]() -> const Array& {{ return kept; }}"
    return mutant(
        f"{op}: {variable} not guarded", captured, captured.replace(saved[0], unguarded), f"{SAVED}[{op}-{case}]"
    )


SAVED = "test_saved_inputs.py::test_a_write_after_forward_is_noticed_or_changes_nothing"
ORACLE = "test_oracle.py::test_against_torch"
BFLOAT16 = "test_bfloat16_product.py::test_each_set_uses_its_own_kernels"
EVERY_ROW = "test_kernel_tables.py::test_every_set_has_every_row"
STEP = "test_one_step.py::"
PLACES = "test_dropout_places.py::test_places"
GRADIENTS = "test_model_gradients.py::"
BEFORE = GRADIENTS + "test_a_token_changes_nothing_before_it_and_something_from_it_on"
OPTIMISERS = "test_optim.py::test_ten_steps_equal_torch"

BPE_PIECES = "test_bpe.py::test_pieces_give_the_tokens_of_the_whole"
BPE_WORDS = "test_bpe.py::test_cuts_within_a_word_that_would_change_tokens_are_not_made"

GGUF = "test_gguf.py::"
PYTHON = [
    # the training step
    mutant(
        "schedule not applied",
        "self.optimizer.scale_lr(self.schedule(self.step))",
        "self.schedule(self.step)",
        STEP + "test_each_step_has_the_learning_rate_of_its_place",
    ),
    mutant(
        "schedule one step late",
        "self.optimizer.scale_lr(self.schedule(self.step))",
        "self.optimizer.scale_lr(self.schedule(self.step + 1))",
        STEP + "test_each_step_has_the_learning_rate_of_its_place",
    ),
    mutant(
        "micro-batches summed, not averaged",
        "return self.counts[number] / max(1, sum(self.counts))",
        "return 1.0",
        STEP + "test_micro_batches_are_one_batch",
    ),
    mutant(
        "every micro-batch draws the same windows",
        "random_raw(skipped + batch)[skipped:]",
        "random_raw(skipped + batch)[:batch]",
        STEP + "test_micro_batches_are_one_batch",
    ),
    mutant(
        "gradients not clipped",
        "optim.clip_grad_norm_(self.model.parameters(), o.clip)",
        "optim.clip_grad_norm_(self.model.parameters(), 1e30)",
        STEP + "test_the_gradients_that_are_clipped_are_those_of_the_whole_batch",
    ),
    mutant(
        "vectors decay too",
        '{"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}',
        '{"params": [p for p in parameters if p.ndim < 2]}',
        "test_training.py::test_only_matrices_decay",
    ),
    mutant(
        "the mean of weights counts one too many",
        "mean + (wide(p) - mean) * (1.0 / count)",
        "mean + (wide(p) - mean) * (1.0 / (count + 1))",
        "test_training.py::test_the_mean_of_the_last_weights_is_kept",
    ),
    mutant(
        "evaluation with dropout",
        "    try:\n        with nn.inference():\n            yield",
        "    try:\n        yield",
        STEP + "test_evaluation_is_without_dropout",
    ),
    mutant(
        "targets are the ids",
        "np.ascontiguousarray(window[:, 1:])",
        "np.ascontiguousarray(window[:, :-1])",
        "test_data.py::test_batches_depend_on_seed_and_step_only",
    ),
    # optimisers and schedules
    mutant(
        "AdamW: one beta for both",
        'numbers = (group["lr"], *group["betas"], ',
        'numbers = (group["lr"], group["betas"][1], group["betas"][1], ',
        OPTIMISERS + "[adamw-float64]",
    ),
    mutant(
        "AdamW: step counted from 2", 'state["step"] + 1, []', 'state["step"] + 2, []', OPTIMISERS + "[adamw-float64]"
    ),
    mutant(
        "SGD: never Nesterov",
        'nesterov=bool(group["nesterov"])',
        "nesterov=False",
        OPTIMISERS + "[sgd_nesterov-float64]",
    ),
    mutant(
        "optimiser state stays where it was loaded",
        "return pf.tensor(tensor, device=p.device)",
        "return pf.tensor(tensor)",
        "test_second_device.py::test_optimizer_state_from_the_cpu_moves_to_its_parameters",
    ),
    mutant(
        "pickle forgets bfloat16",
        '"bfloat16" if is_bfloat16 else array.dtype.name',
        "array.dtype.name",
        "test_interop.py::test_bfloat16_has_no_numpy",
    ),
    mutant(
        "a cache of float32 whatever the model",
        'where = {"dtype": cache_dtype(self.head), "device": self.head.device}',
        'where = {"dtype": pf.float32, "device": self.head.device}',
        "test_cache.py::test_a_models_cache_is_of_its_dtype",
    ),
    mutant(
        "a recording of weights that are no more",
        "self._replay is not None and self._replay.serves():",
        "self._replay is not None:",
        "test_steps.py::test_a_change_of_the_model_is_noticed",
    ),
    mutant(
        "a recording of a model that was another",
        "changes(), _core.precision(), _core.isa()",
        "0, _core.precision(), _core.isa()",
        "test_steps.py::test_a_change_of_the_model_is_noticed",
    ),
    mutant(
        "steps that stand where the recorded one stood",
        "return self._replay([ids, cache.starts, cache.ends])",
        "return self._replay([ids, cache.ends, cache.ends])",
        "test_steps.py::test_threads_change_no_bit_and_may_change_between_steps",
    ),
    mutant(
        "cosine upside down",
        "self.final) * 0.5 * (1.0 + math.cos(",
        "self.final) * 0.5 * (1.0 - math.cos(",
        "test_optim.py::test_schedules",
    ),
    mutant(
        "warm-up from 0",
        "min(1.0, (step + 1) / warmup_steps)",
        "min(1.0, step / warmup_steps)",
        "test_optim.py::test_schedules",
    ),
    # files, text and the terminal
    mutant(
        "byte pairs: a cut within a word is not checked",
        "if before is not None and before.last and not self",
        "if False and not self",
        BPE_WORDS,
    ),
    mutant("byte pairs: a cut amid white space", "and not text[begin + at - 1].isspace()", "", BPE_PIECES),
    mutant(
        "byte pairs: a control character is white space",
        r"[\S\x1c-\x1f](?=[^\S\x1c-\x1f])",
        r"\S(?=\s)",
        BPE_PIECES,
    ),
    mutant(
        "a tied head is never looked at",
        "or not weights.has_own_head()",
        "or True",
        "test_said.py::test_a_head_of_its_own_is_used_though_the_config_says_tied",
    ),
    mutant(
        "stderr that fails fails the work",
        "with contextlib.suppress(OSError, ValueError):\n            self._stream.write(text)",
        "self._stream.write(text)",
        "test_terminal.py::test_the_library_trains_on_where_stderr_is_gone",
    ),
    mutant(
        "metrics that can't be written fail the run",
        "except OSError as error:\n            self._torn = True",
        "except ZeroDivisionError as error:\n            self._torn = True",
        "test_terminal.py::test_training_goes_on_where_metrics_and_curve_cannot_be_written",
    ),
    mutant(
        "a prompt with a dash is an option",
        'result.append(argument if text is None else f"{name}={SHIELD}{text}")',
        "result += [argument] if equals else [name, *([] if text is None else [text])]",
        "test_terminal.py::test_any_text_is_a_prompt",
    ),
    mutant(
        "generation without the start token",
        "tokenizer.encode(text, special_tokens=True)",
        "tokenizer.encode(text)",
        "test_terminal.py::test_a_folder_of_llama_goes_on_as_in_transformers",
    ),
    mutant(
        "masks in lists are dropped",
        "if isinstance(values, (list, tuple)):\n        return any(",
        "if False:\n        return any(",
        "test_interop.py::test_a_mask_is_never_dropped",
    ),
    # models and layers
    mutant(
        "GPT without embedding dropout",
        "x = self.dropout(self.wte(ids) + self.wpe(span.places))\n        for layer, block in enumerate(self.h)",
        "x = self.wte(ids) + self.wpe(span.places)\n        for layer, block in enumerate(self.h)",
        PLACES + "[GPT]",
    ),
    mutant(
        "GPT without branch dropout",
        "x + self.dropout(self.mlp(x, self.ln_2))",
        "x + self.mlp(x, self.ln_2)",
        PLACES + "[GPT]",
    ),
    mutant(
        "GPT without the gradient of the residual",
        "self.attn.c_proj(mixed, residual=x)",
        "self.attn.c_proj(mixed, residual=x.detach())",
        GRADIENTS + "test_the_gradient_of_a_language_model[GPT]",
    ),
    mutant(
        "block without branch dropout",
        "out if fused else x + self.dropout(out)",
        "out if fused else x + out",
        PLACES + "[TransformerBlock]",
    ),
    mutant(
        "dropout in evaluation",
        "return self.p > 0.0 and self.training",
        "return self.p > 0.0",
        PLACES + "[GPT]",
    ),
    mutant(
        "modes of inference that modules don't see",
        'return self.__dict__.get("training", True) and not inferring()',
        'return self.__dict__.get("training", True)',
        "test_modes.py::test_a_module_of_ones_own_sees_evaluation_within_inference",
    ),
    mutant(
        "a checkpoint counts twice",
        "        _set_attributes(self.changes)\n",
        "",
        "test_modes.py::test_recomputation_has_no_second_effect",
    ),
    mutant(
        "a row's backward direction begins in the padding",
        "x = ends.zeroed(ends.flipped(x) if backwards else x)",
        "x = ends.zeroed(x)",
        "test_padding.py::test_a_row_that_ends_early_is_read_as_alone",
    ),
    mutant(
        "an ignored row is multiplied by 0",
        "losses = ops.where(ops.not_equal(targets, ignore_index), -picked * kept, 0.0)",
        "losses = -picked * kept",
        "test_names_numbers.py::test_ignored_rows_may_hold_anything",
    ),
    mutant(
        "equal elements far from 0 spread",
        "    x = x - first\n",
        "",
        "test_names_numbers.py::test_equal_elements_spread_by_nothing",
    ),
    mutant(
        "a norm has no units",
        "return x / unit, unit",
        "return x, ones_like(unit)",
        "test_names_numbers.py::test_norms_of_float64",
    ),
    mutant(
        "RMSprop squares whatever comes",
        "        grad = _squarable(grad)\n        square_avg",
        "        square_avg",
        "test_adamw.py::test_an_optimiser_goes_on_after_a_huge_gradient[RMSprop]",
    ),
    mutant(
        "the state at a row's end is rounded",
        "is_narrow = x.dtype in (pf.bfloat16, pf.float16) and _core.precision() is None",
        "is_narrow = False",
        "test_recurrent_layers.py::test_a_sequence_in_parts_has_the_bits_of_the_whole[GRU-float16]",
    ),
    mutant(
        "generate asks no generation_config.json",
        'said = getattr(model, "generation_config", None) or {}\n    found',
        "said: dict[str, Any] = {}\n    found",
        "test_said.py::test_generate_follows_generation_config",
    ),
    mutant(
        "gaps backwards are those of the observation itself",
        "(self._ends - self._places) % self._ends",
        "(self._ends - 1 - self._places) % self._ends",
        "test_padding.py::test_reading_backwards_takes_the_gap_to_the_next_in_time",
    ),
    mutant(
        "logged losses are means of means",
        "total = sum(loss * targets for loss, targets in self._recent)",
        "total = sum(loss for loss, _ in self._recent) / len(self._recent) * sum(n for _, n in self._recent)",
        "test_padding.py::test_validation_and_logged_losses_weigh_by_targets",
    ),
    mutant(
        "a copied module shares its register",
        "{name: dict(self.__dict__[name]) for name in names",
        "{name: self.__dict__[name] for name in names",
        "test_sharing.py::test_a_shallow_copy_has_its_own_register",
    ),
    mutant(
        "attention layer sees what comes later",
        'where = {"mask": mask, "causal": self.causal, "key_lengths"',
        'where = {"mask": mask, "causal": False, "key_lengths"',
        BEFORE + "[KAN]",
    ),
    mutant(
        "attention layer without its mask",
        'where = {"mask": mask, "causal": self.causal, "key_lengths"',
        'where = {"mask": None, "causal": self.causal, "key_lengths"',
        "test_attention_weights.py::test_a_layer_does_not_see_what_its_mask_leaves_out",
    ),
    mutant(
        "GPT sees what comes later",
        'reach = {"causal": True, "key_lengths"',
        'reach = {"causal": False, "key_lengths"',
        BEFORE + "[GPT]",
    ),
    mutant(
        "decoder sees what comes later",
        "self._stack(causal=True, cross_attention=True)",
        "self._stack(causal=False, cross_attention=True)",
        "test_encoder_decoder.py::test_logits_loss_and_all_gradients_equal_the_twin",
    ),
    mutant(
        "Llama turns its queries alone",
        "q, k = places.turn(q), places.turn(k)",
        "q = places.turn(q)",
        "test_llama.py::test_logits_loss_and_all_gradients_equal_the_twin",
    ),
    mutant(
        "norms of queries are not those of keys",
        "q, k = self.q_norm(q), self.k_norm(k)\n        q, k = places.turn",
        "q, k = self.q_norm(q), k\n        q, k = places.turn",
        "test_families.py::test_logits_loss_and_all_gradients_equal_transformers[qwen3]",
    ),
    mutant(
        "YaRN's factor is taken once",
        "factors[: rope.width] = magnitude * magnitude",
        "factors[: rope.width] = magnitude",
        "test_families.py::test_logits_loss_and_all_gradients_equal_transformers[qwen2 with yarn]",
    ),
    mutant(
        "local layers have the base of all",
        "is_local = self.local_rope_base is not None and slides",
        "is_local = self.local_rope_base is not None and not slides",
        "test_families.py::test_logits_loss_and_all_gradients_equal_transformers[gemma3]",
    ),
    mutant(
        "a part is added unscaled",
        "h if self.residual_scale == 1.0 else h * self.residual_scale",
        "h",
        "test_families.py::test_logits_loss_and_all_gradients_equal_transformers[granite]",
    ),
    mutant(
        "gains of 1 + weight are weights",
        "+ 1.0 if self.centred else self.weight",
        "* 1.0 if self.centred else self.weight",
        "test_families.py::test_logits_loss_and_all_gradients_equal_transformers[gemma2]",
    ),
    mutant(
        "scores are not capped",
        '"softcap": self.softcap}',
        '"softcap": None}',
        "test_families.py::test_logits_loss_and_all_gradients_equal_transformers[gemma2]",
    ),
    mutant(
        "a text isn't read again past longrope's length",
        "elif length == self.model.reread_at:",
        "elif length == -1:",
        "test_families.py::test_generation_with_a_cache_equals_full_passes_bit_for_bit[phi4-mini]",
    ),
    mutant(
        "parts of a stacked tensor begin at its start",
        "                begin = end\n\n    def has_own_head",
        "                begin = entry.begin\n\n    def has_own_head",
        "test_families.py::test_logits_loss_and_all_gradients_equal_transformers[phi3]",
    ),
    mutant(
        "RetNet keys not scaled",
        "* self.head_dim**-0.5",
        "* 1.0",
        "test_recurrent_layers.py::test_retention_equals_its_twin",
    ),
    mutant(
        "ViT without positions",
        "self.dropout(ops.concat([first, tokens], axis=1) + self.positions)",
        "self.dropout(ops.concat([first, tokens], axis=1))",
        "test_vision_models.py::test_vit_equals_the_transformers_model_and_goes_back",
    ),
    mutant(
        "BERT without segments",
        " + self.segments(pf.tensor(segments, device=device))",
        "",
        "test_bert.py::test_classifier_logits_loss_and_all_gradients_equal_the_twin",
    ),
    mutant(
        "one token more than top_k",
        "_highest(scores, self.top_k)",
        "_highest(scores, self.top_k + 1)",
        "test_generate.py::test_greedy_ties_go_to_the_lowest_id",
    ),
    # files of other programs, and what is made of them
    mutant(
        "gguf: rows of heads stay interleaved",
        "np.ascontiguousarray(pairs.swapaxes(1, 2))",
        "np.ascontiguousarray(pairs)",
        GGUF + "test_rows_of_a_part_of_a_tensor_are_those_of_the_whole[Q8_0]",
    ),
    mutant(
        "gguf: a tensor past the end is taken",
        "if tensor.offset % alignment or begin + size > cursor.size:",
        "if tensor.offset % alignment:",
        GGUF + "test_claims_of_a_small_file_take_no_memory_and_no_time",
    ),
    mutant(
        "gguf: tensors may share bytes",
        "if entry.begin < end:",
        "if entry.begin < 0:",
        GGUF + "test_claims_of_a_small_file_take_no_memory_and_no_time",
    ),
    mutant(
        "gguf: any alignment",
        "if alignment not in ALIGNMENTS:",
        "if False:",
        GGUF + "test_claims_of_a_small_file_take_no_memory_and_no_time",
    ),
    mutant(
        "gguf: the fifth bit of Q5 is lost",
        "return _nibbles(blocks, at + 4) | (fifth << 4)",
        "return _nibbles(blocks, at + 4)",
        GGUF + "test_blocks_by_hand",
    ),
    mutant(
        "gguf: a key of the family is not followed and not told",
        'if key.startswith(f"{arch}.") and key[len(arch) + 1 :] not in known]',
        "if False]",
        GGUF + "test_what_is_missing_extra_or_unknown_is_named",
    ),
    mutant(
        "gguf: an unknown cut of words is guessed",
        'pre = file.metadata.text("tokenizer.ggml.pre", "default")',
        'pre = "gpt-2"',
        "test_gguf_tokenizer.py::test_what_can_not_be_followed_is_named",
    ),
    mutant(
        "gguf: SentencePiece joins the lowest score first",
        "ranked.append((-float(scores[number])",
        "ranked.append((float(scores[number])",
        "test_gguf_tokenizer.py::test_sentence_pieces_are_joined_by_their_scores",
    ),
    mutant(
        "chat: a template runs without the sandbox",
        "from jinja2.sandbox import ImmutableSandboxedEnvironment",
        "from jinja2 import Environment as ImmutableSandboxedEnvironment",
        "test_chat.py::test_hostile_templates_end_soon_in_one_clear_error",
    ),
    mutant(
        "chat: a text of a template may be of any length",
        "if length > most:",
        "if False:",
        "test_chat.py::test_hostile_templates_end_soon_in_one_clear_error",
    ),
    mutant(
        "lora: what is merged is not scaled",
        "self.lora_A.weight.detach()) * self.scale",
        "self.lora_A.weight.detach())",
        "test_lora.py::test_merging_adds_what_was_learned_and_leaves_a_plain_model",
    ),
    mutant(
        "lora: the model's own weights are trained, too",
        "    model.requires_grad_(False)\n    adapter = Adapter",
        "    adapter = Adapter",
        "test_lora.py::test_at_first_nothing_changes_and_only_the_adapter_learns",
    ),
    mutant(
        "lora: a weight at two places is merged twice",
        "(w for other, w in added if layer._learns_with(other))",
        "(w for other, w in () if layer._learns_with(other))",
        "test_lora.py::test_a_weight_at_two_places_has_one_adapter_and_is_merged_once",
    ),
    mutant(
        "trunc: the sign of 0 is lost",
        "return ops.where(ops.equal(whole, 0), (x * 0).to(whole.dtype), whole)",
        "return whole",
        "test_names_numbers.py::test_whole_numbers_keep_the_sign_of_zero",
    ),
    mutant(
        "sentences: padding is averaged, too",
        "counted = within_lengths(hidden, pf.tensor(lengths, device=hidden.device))",
        "counted = hidden",
        "test_sentences.py::test_a_text_has_the_same_bits_in_any_batch",
    ),
    mutant(
        "padding: what stands there is multiplied by 0",
        "return ops.where((counts <= lengths.reshape(-1, 1)).reshape(*x.shape[:2], 1), x, 0.0)",
        "return x * (counts <= lengths.reshape(-1, 1)).reshape(*x.shape[:2], 1)",
        "test_padding.py::test_what_stands_in_padding_reaches_no_result_and_no_gradient",
    ),
]


CPP = [
    mutant(
        "checkpoint: what it leads to is not looked for once it has been recorded",
        "      find_nodes_below(outputs);\n",
        "",
        "test_tape.py::test_gradients_through_a_checkpoint_touch_no_grad",
    ),
    mutant(
        "a closed ReLU multiplies",
        "return select(mask_or(gradient == zero, slope == zero), zero, gradient * slope);",
        "(void)zero; return gradient * slope;",
        "test_activations.py::test_a_closed_relu_keeps_back_what_is_not_finite",
    ),
    mutant(
        "a gradient of 0 is multiplied",
        "return select(d == splat<V>(0), splat<V>(0), gradient);",
        "(void)d; return gradient;",
        "test_elementwise.py::test_a_branch_that_where_leaves_out_contributes_nothing",
    ),
    mutant(
        "a sum down columns in an order of its own",
        "add_rows<1>(lane + row % kLanes * count,",
        "add_rows<1>(lane + (row + 1) % kLanes * count,",
        "test_sums.py::test_any_number_of_columns",
    ),
    mutant(
        "retention returns its state rounded",
        "return {cast(w.out, q.dtype()), w.end};",
        "return {cast(w.out, q.dtype()), cast(cast(w.end, accumulator(q.dtype())), DType::float64)};",
        "test_sequence_ops.py::test_retention_in_parts_has_the_bits_of_the_whole",
    ),
    unsaved("gelu", "[x = save(x), form]", "x", "tanh-257"),
    unsaved(
        "layer_norm",
        'record("layer_norm", {x, weight, bias}, r.out,\n                '
        "[norm, x = save(x), weight = save(weight), statistics",
        "x",
        "5x17",
    ),
    unsaved(
        "linear",
        "[x = save(a), weight = save(b), preactivation = r.preactivation",
        "weight",
        "9x20x16-gelu-no-bias",
    ),
    unsaved("matmul", "[a = save(x), b = save(y), transpose_a, transpose_b, operands]", "b", "2x33@33x15-nn"),
    unsaved("bspline", "[x = save(x), grid]", "x", "order-2"),
    unsaved("attention", "[q = save(x), k = save(y), v = save(z), kept", "k", "cross"),
    mutant(
        "softmax: its output not guarded",
        'record("softmax", {x}, out,\n                [saved = save(kept(x.array(), out)), axis]',
        'record("softmax", {x}, out,\n                '
        "[saved = [array = Array(kept(x.array(), out))]() -> const Array& { return array; }, axis]",
        f"{SAVED}[softmax-3x33x35-axis0]",
    ),
    mutant("nothing saved is guarded", "array_.storage().version() != version_", "false", f"{SAVED}[matmul-dot]"),
    # One template for plain and vector loops: equality of the two says nothing.
    mutant(
        "lstm: forget gate's slope",
        "(dcell * previous) * (f * (one - f))",
        "(dcell * previous) * f",
        f"{ORACLE}[lstm-hidden-17]",
    ),
    mutant(
        "lstm: tanh'(g) without its square",
        "(dcell * i) * fma(-g, g, one)",
        "(dcell * i) * fma(-g, one, one)",
        f"{ORACLE}[lstm-hidden-17]",
    ),
    mutant(
        "lstm: the cell's gradient not carried on",
        "store_strip(dcell * f, dc + j, n);",
        "store_strip(dcell, dc + j, n);",
        f"{ORACLE}[lstm-hidden-17]",
    ),
    mutant(
        "gru: update gate upside down",
        "fma(z, load_strip<V>(h_previous + j, n) - fresh, fresh)",
        "fma(splat<V>(1) - z, load_strip<V>(h_previous + j, n) - fresh, fresh)",
        f"{ORACLE}[gru-hidden-17]",
    ),
    mutant("gru: reset gate's slope", "(r * (one - r));         // (3)", "r;  // (3)", f"{ORACLE}[gru-hidden-17]"),
    mutant(
        "cfc: gradient without the time",
        "(s * (one - s))) * rate",
        "(s * (one - s))) * (rate * rate)",
        f"{ORACLE}[cfc-elapsed]",
    ),
    mutant(
        "bspline: slope not divided right",
        "(r > 0 ? bases[r - 1] : zero) - (r < a.order ? bases[r] : zero)",
        "(r > 0 ? bases[r - 1] : zero)",
        f"{ORACLE}[bspline-order-4]",
    ),
    mutant(
        "avg_pool2d: mean over one too many",
        "out[j] = out[j] / count",
        "out[j] = out[j] / (count + A(1))",
        f"{ORACLE}[avg_pool2d-2x3x8x8-kernel2-strideNone-padding0]",
    ),
    mutant(
        "max_pool2d: gradients overwrite each other",
        "dx[y * w.width + x] = dx[y * w.width + x] + dout[i * w.cols + j]",
        "dx[y * w.width + x] = dout[i * w.cols + j]",
        f"{ORACLE}[max_pool2d-2x2x9x35-kernel3-stride1-padding1]",
    ),
    mutant("gelu: a constant in bfloat16", "T(0.39894228040143267794)", "T(0.3984375)", f"{ORACLE}[gelu-257]"),
    mutant(
        "gelu_tanh: a constant to four digits",
        "T(0.044715 * 1.5957691216057307117)",
        "T(0.04472 * 1.5957691216057307117)",
        f"{ORACLE}[gelu-tanh-257]",
    ),
    mutant(
        "attention weights: a finite minus infinity",
        "reached = where(seen, scores, number(scores, -std::numeric_limits<double>::infinity()))",
        "reached = where(seen, scores, number(scores, -1e30))",
        "test_attention_weights.py::test_a_mask_lower_than_any_number_of_ours",
    ),
    mutant(
        "attention: capped scores are not scaled back",
        "multiply(tanh(divide(scores, cap)), cap)",
        "tanh(divide(scores, cap))",
        f"{ORACLE}[attention-softcap]",
    ),
    mutant(
        "attention: the sink is taken for a key",
        "{1, 1, scores.dim(3)}",
        "{0, 1, scores.dim(3)}",
        f"{ORACLE}[attention-sinks]",
    ),
    mutant(
        "attention: causal is off by one",
        "range.end = clamp(p + 1, 0, length)",
        "range.end = clamp(p + 2, 0, length)",
        f"{ORACLE}[attention-causal-17x17]",
    ),
    mutant(
        "attention: a window of one more",
        "in.window : kFar) + 1, 0, range.end)",
        "in.window : kFar), 0, range.end)",
        f"{ORACLE}[attention-window]",
    ),
    mutant(
        "SGD: a master goes stale",
        "value(i, stepped_from(master[i], param[i]))",
        "value(i, master[i])",
        "test_sharing.py::test_a_master_follows_weights_that_are_loaded",
    ),
    mutant(
        "dropout: kept values not scaled up",
        "1 / (1 - p), x.raw()",
        "1.0, x.raw()",
        "test_dropout.py::test_share_and_scale",
    ),
    mutant(
        "losses: the mean divides by one target more",
        "\n  const int64_t count = !a.counted ? a.count : *a.counted < 1 ? 1 : *a.counted",
        "\n  const int64_t count = !a.counted ? a.count : *a.counted + 1",
        f"{ORACLE}[cross_entropy-some-ignored]",
    ),
    mutant(
        "elementwise: an operand stays where its row begins",
        "if constexpr (steps) return load_vec(p + i, n);",
        "if constexpr (steps) return load_vec(p + 0 * i, n);",
        f"{ORACLE}[multiply-5x33-with-33]",
    ),
    mutant(
        "divide: the divisor's gradient lacks a division",
        "return -(d * (a / b) / b);",
        "return -(d * (a / b));",
        f"{ORACLE}[divide-3x17-with-3x17]",
    ),
    mutant(
        "every set lacks a row of a kernel table",
        "{{backward<float, NormForm::rms>, backward<double, NormForm::rms>}}",
        "{{backward<float, NormForm::rms>}}",
        f"{EVERY_ROW}[norm]",
    ),
    mutant(
        "one set lacks a row of a kernel table",
        "{{forward<float, NormForm::centred>, forward<double, NormForm::centred>}}",
        "{{kIsa == Isa::avx2 ? nullptr : forward<float, NormForm::centred>, forward<double, NormForm::centred>}}",
        f"{EVERY_ROW}[norm]",
    ),
    mutant(
        "float64 becomes 16 bits by way of float32",
        "return is_exact || is_odd ? nearest",
        "return is_exact || is_odd || true ? nearest",
        "test_one_rounding.py::test_float64_is_rounded_once[to-bfloat16]",
    ),
    mutant(
        "int64 becomes 16 bits by way of float64",
        "double(x > -kExact && x < kExact ? x : x - low + (low ? 0x400 : 0))",
        "double(x > -kExact && x < kExact ? x : x - low + low)",
        "test_one_rounding.py::test_integers_are_rounded_once[to-bfloat16-8]",
    ),
    mutant(
        "bfloat16 by FMA: even k twice, where one chain is added up at a time",
        "if constexpr (kChains == 1) add_chains<rows>(a + 1, b + kCols, odd);",
        "if constexpr (kChains == 1) add_chains<rows>(a, b, odd);",
        f"{BFLOAT16}[avx2]",
    ),
    mutant(
        "bfloat16 by FMA: denormals stay",
        "_mm_setcsr(saved_ | 0x8040)",
        "_mm_setcsr(saved_)",
        f"{BFLOAT16}[avx2]",
    ),
    mutant(
        "bfloat16 attention: values that a row does not attend to take part",
        "if (!(bad & ~allow[i])) continue;",
        "if (true) continue;",
        "test_attention_bfloat16.py::test_what_is_not_attended_takes_no_part[avx512]",
    ),
    mutant(
        "bfloat16 attention: keys that a row does not attend to take part",
        "if (!(task.k_bad & ~pair.allow[j])) continue;",
        "if (true) continue;",
        "test_attention_bfloat16.py::test_what_is_not_attended_takes_no_part[avx512]",
    ),
    mutant(
        "bfloat16 attention: queries that a row does not attend to take part",
        "if (!(bad & ~attending[j])) continue;",
        "if (true) continue;",
        "test_attention_bfloat16.py::test_what_is_not_attended_takes_no_part[avx512]",
    ),
]


CUDA_CASE = "test_cuda.py::test_case"
STREAMS = "test_cuda_streams.py::"
GRAPHS = "test_cuda_graphs.py::"
SCALING = "test_cuda_loss_scaling.py::"
SM90 = "test_cuda_sm90.py::"
TWO_CHAINS = SM90 + "test_products[bfloat16--130-72-600]"  # on sm_80 and on sm_90a: two and a part of one
ROUNDED = SM90 + "test_float32_is_rounded_for_a_product[bfloat16-530-140]"
TILES_OF_ATTENTION = SM90 + "test_attention[tiles-bfloat16]"
FEW_ROWS = "test_cuda.py::test_few_rows_have_the_bits_of_many[bfloat16-hopper]"
LONG_ROW = f"{CUDA_CASE}[cross_entropy-3x12500-float32]"
SUM_FOR_ALL = f"{CUDA_CASE}[rms_norm-1x12500-float32]"  # each thread reads it
LONG_SORT = "test_cuda.py::test_long_rows_are_sorted[2049]"
GRAPH_MEMORY = GRAPHS + "test_a_graph_keeps_its_memory_and_gives_it_back"
CUDA = [
    mutant(
        "rows: sums of blocks are read before they are stored",
        "      if (is_first_lane()) s.sums[team()] = sum;\n      __syncthreads();\n",
        "      if (is_first_lane()) s.sums[team()] = sum;\n",
        LONG_ROW,
    ),
    mutant(
        "rows: the sum is read before it is stored",
        "      }\n      __syncthreads();\n    }\n    return blocks > 0",
        "      }\n    }\n    return blocks > 0",
        SUM_FOR_ALL,
    ),
    mutant(
        "rows: a row too many",
        "if (team.row() < a.count) Row::at",
        "if (team.row() <= a.count) Row::at",
        f"{CUDA_CASE}[layer_norm-5x17-float32]",
    ),
    mutant(
        "matmul on tensor cores: a strip is read while it is written",
        "    cp_async_wait<kStages - 2>();\n    __syncthreads();\n",
        "    cp_async_wait<kStages - 2>();\n",
        FEW_ROWS,
    ),
    mutant(
        "matmul on tensor cores: the last copy is not waited for",
        "    cp_async_wait<kStages - 2>();\n    __syncthreads();\n",
        "    cp_async_wait<kStages - 1>();\n    __syncthreads();\n",
        f"{CUDA_CASE}[matmul-40x264@264x72-nn-bfloat16]",
    ),
    mutant(
        "matmul on tensor cores: one chain",
        "if ((step + 1) * kDepth % kChainLength && step + 1 < steps) continue;",
        "if (step + 1 < steps) continue;",
        TWO_CHAINS,
    ),
    mutant(
        "matmul on tensor cores: a column too many",
        "if (first_row + row >= g.m || col >= g.n) continue;",
        "if (first_row + row >= g.m || col > g.n) continue;",
        FEW_ROWS,
    ),
    mutant(
        "topk: neighbours are sorted in one direction",
        "if (sorts_before(y, x) != !(i & run)) continue;",
        "if (!sorts_before(y, x)) continue;",
        LONG_SORT,
    ),
    mutant(
        "topk: a comparison too early",
        "      __syncthreads();\n      for (int64_t pair",
        "      for (int64_t pair",
        LONG_SORT,
    ),
    mutant(
        "dropout: the mask of a replay is that of the recording",
        "const uint64_t seed = a.replayed ? a.replayed[0] : a.seed, stream = a.replayed ? a.replayed[1] : a.stream;",
        "const uint64_t seed = a.seed, stream = a.stream;",
        GRAPHS + "test_random_numbers_of_a_replay_are_those_of_a_call",
    ),
    mutant(
        "adamw: a step whose gradients are not finite is taken",
        "  if (a.norm && !(*a.norm < __builtin_inf())) return;\n  const AdamWCoefficients",
        "  const AdamWCoefficients",
        SCALING + "test_loss_scaling_on_a_device_is_that_on_the_cpu[AdamW-None]",
    ),
    mutant(
        "adamw: steps that were not taken count",
        "const double step = s.step - double(*a.skipped);",
        "const double step = s.step;",
        SCALING + "test_loss_scaling_on_a_device_is_that_on_the_cpu[AdamW-None]",
    ),
    mutant(
        "device: memory goes back before another stream is done with it",
        "  if (stream != next && !use(device))",
        "  if (false)",
        STREAMS + "test_memory_is_not_reused_before_another_thread_is_done_with_it",
    ),
    mutant(
        "device: what a graph reads is given to others",
        "const bool is_kept = recording && block.stream != recording->stream;",
        "const bool is_kept = false;",
        GRAPH_MEMORY,
    ),
    mutant(
        "device: a graph's memory is given back to the device",
        "return pool.graphs.count(entry.first.first) > 0;",
        "return pool.graphs.count(entry.first.first) > 1;",
        GRAPH_MEMORY,
    ),
    mutant(
        "device: another stream goes on before a replay is done",
        "  return order_streams(device, g.home, stream);\n",
        "  return nullptr;\n",
        GRAPHS + "test_a_replay_in_another_thread_is_waited_for",
    ),
    mutant(
        "matmul of sm_90a: one chain",
        "if ((strip + 1) % kChainStrips && strip + 1 < strips) continue;",
        "if (strip + 1 < strips) continue;",
        TWO_CHAINS,
    ),
    mutant(
        "ring: a warp gives a slot back before all of its lanes are done",
        "    __syncwarp();\n    if (threadIdx.x % 32 == 0) mbarrier_arrive(&empty[turn.slot]);\n",
        "    if (threadIdx.x % 32 == 0) mbarrier_arrive(&empty[turn.slot]);\n",
        "cuda_emulator.py::test_the_librarys_kernels_on_tensor_cores_have_no_races[sm90-plain]",
    ),
    mutant(
        "ring: a slot is read before it is full",
        "DEVICE void wait(const Turn& turn) { mbarrier_wait(&full[turn.slot], turn.parity); }",
        "DEVICE void wait(const Turn&) {}",
        TWO_CHAINS,
    ),
    mutant(
        "matmul of sm_90a: a slot is filled before it is empty",
        "    mbarrier_wait(&empty[turn.slot], turn.parity ^ 1);\n",
        "",
        TWO_CHAINS,
    ),
    mutant(
        "matmul: the second rounded operand begins where the first does",
        "      round(args.b, i - args.a.chunks);\n",
        "      round(args.b, i);\n",
        ROUNDED,
    ),
    mutant(
        "matmul: rounded rows are as far apart as they were",
        "    o = {to, row, o.transposed, o.batch_stride ? rows * row : 0};\n",
        "    o = {to, o.stride, o.transposed, o.batch_stride ? rows * row : 0};\n",
        ROUNDED,
    ),
    mutant(
        "matmul on tensor cores: eight vectors that lie across and eight elements change places",
        "across(step * 16 + 8 * p + lane % 8, first / kChunk + i)",
        "across(step * 16 + 8 * i + lane % 8, first / kChunk + p)",
        SM90 + "test_products[bfloat16-a-130-72-600]",
    ),
    mutant(
        "matmul of few rows: pairs of float32 change places",
        "      return packed<T>(two[0], two[1]);\n",
        "      return packed<T>(two[1], two[0]);\n",
        "test_cuda.py::test_few_rows_of_float32_have_the_bits_of_many[bfloat16]",
    ),
    mutant(
        "attention of sm_90a: queries are waited for a phase too early",
        "    mbarrier_wait(&s.q_full, 0);\n",
        "    mbarrier_wait(&s.q_full, 1);\n",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a: keys are not waited for",
        "      s.ring.wait(turn);\n      Base::dot(s.q",
        "      Base::dot(s.q",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a: scores are read before they are computed",
        "box || step);\n    wgmma_commit();\n    wgmma_wait<0>(sums);\n",
        "box || step);\n    wgmma_commit();\n    wgmma_wait<1>(sums);\n",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a: registers are not fenced before values are multiplied",
        "      wgmma_fence();\n#pragma unroll\n      for (int step",
        "#pragma unroll\n      for (int step",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a: a value that is not attended is multiplied by zero",
        "      if (some_partial) {\n",
        "      if (some_partial && false) {\n",
        SM90 + "test_attention_leaves_out_what_is_not_attended[inf]",
    ),
    mutant(
        "attention of sm_90a: the other warpgroup's slots are given back unread",
        "ring.wait(turn), ring.give_back(turn);\n",
        "ring.give_back(turn);\n",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a: one range of keys",
        "if ((block + 1) % kRangeBlocks == 0 || block + 1 == mine.last) end_range",
        "if (block + 1 == mine.last) end_range",
        SM90 + "test_attention_over_several_ranges_of_keys",
    ),
    mutant(
        "attention of sm_90a, dq: keys are given back before they are multiplied",
        "      round_score_gradients<T>(row, score, ds, w);\n",
        "      s.ring.give_back(keys);\n      round_score_gradients<T>(row, score, ds, w);\n",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a, dk and dv: gradients are not waited for",
        "      s.ring.wait(turn);\n      Weights w, dw;\n",
        "      Weights w, dw;\n",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a, dk and dv: the bytes of what is known of rows are not counted",
        "s.ring.expect(turn, kTileBytes + sizeof(RowTile));",
        "s.ring.expect(turn, kTileBytes);",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a, dk and dv: gradients of the first rows twice",
        "      Base::dot(v, dout, 32 * half, gradient);\n",
        "      Base::dot(v, dout, 0, gradient);\n",
        TILES_OF_ATTENTION,
    ),
]
