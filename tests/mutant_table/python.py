"""Mistakes in Python."""

from __future__ import annotations

from mutant_table.mutant import mutant

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
