"""Mistakes in CUDA."""

from __future__ import annotations

from mutant_table.mutant import mutant

CUDA_CASE = "test_cuda.py::test_case"
STREAMS = "test_cuda_streams.py::"
GRAPHS = "test_cuda_graphs.py::"
SCALING = "test_cuda_loss_scaling.py::"
SM90 = "test_cuda_sm90.py::"
TWO_CHAINS = SM90 + "test_products[bfloat16--130-72-600]"  # on sm_80 and on sm_90a: two and a part of one
ROUNDED = SM90 + "test_float32_is_rounded_for_a_product[bfloat16-530-140]"
TILES_OF_ATTENTION = SM90 + "test_attention[tiles-bfloat16]"
TILES_OF_128 = SM90 + "test_attention[tiles-of-128-bfloat16]"
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
        SM90 + "test_attention_leaves_out_what_is_not_attended[inf-None]",
    ),
    mutant(
        "attention of sm_90a: the other warpgroup's slots are given back unread",
        "ring.wait(turn), ring.give_back(turn);\n",
        "ring.give_back(turn);\n",
        SM90 + "test_attention[all-keys-bfloat16]",
    ),
    mutant(
        "attention of sm_90a: one range of keys",
        "if ((block + 1) % kRangeBlocks == 0 || block + 1 == mine.last) end_range",
        "if (kRangeBlocks == 0 || block + 1 == mine.last) end_range",
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
        "      Base::dot(s.v[Base::warpgroup()], dout, 32 * half, gradient);\n",
        "      Base::dot(s.v[Base::warpgroup()], dout, 0, gradient);\n",
        TILES_OF_ATTENTION,
    ),
    mutant(
        "attention of sm_90a, dk and dv: a warp puts weights where another's are",
        "    store(s.weights[k][threadIdx.x], Packed",
        "    store(s.weights[k][threadIdx.x % 128], Packed",
        TILES_OF_128,
    ),
    mutant(
        "attention of sm_90a, dk and dv: half of dk's weights are not put away",
        "          if (n % 2) put_away(",
        "          if (n % 2 && !half) put_away(",
        TILES_OF_128,
    ),
    mutant(
        "attention of sm_90a: both halves of a result's 128 columns go to the first",
        "{ use(8 * box + n, chain); };",
        "{ use(n, chain); };",
        TILES_OF_128,
    ),
    mutant(
        "attention of sm_90a: scores of heads of 128 take the first half twice",
        "        wgmma<T>(sums, box_descriptor<Major::k>(own.boxes[box], step),",
        "        wgmma<T>(sums, box_descriptor<Major::k>(own.boxes[0], step),",
        TILES_OF_128,
    ),
    mutant(
        "attention of sm_90a: a mask's elements are those of the next keys",
        "    const int key = first + i / 4 * 8 + i % 2;\n",
        "    const int key = first + i / 4 * 8 + i % 2 + 1;\n",
        SM90 + "test_attention_with_a_mask[scores-bfloat16]",
    ),
    mutant(
        "attention of sm_90a: rows and keys of a mask are swapped",
        "    const int key = first + i / 4 * 8 + i % 2;\n    return own.mask_at[i % 4 / 2] + ",
        "    const int key = first + i / 4 * 8 + i % 4 / 2;\n    return own.mask_at[i % 2] + ",
        SM90 + "test_attention_with_a_mask[scores-bfloat16]",
    ),
    mutant(
        "attention of sm_90a: with a mask all keys are in range",
        "  w.attended &= ~left_out_by_mask",
        "  w.attended = ~left_out_by_mask",
        SM90 + "test_attention_leaves_out_what_is_not_attended[inf-mask1]",
    ),
    mutant(
        "attention of sm_90a: what a mask adds takes the score's place",
        "      s[i] = s[i] + added;\n",
        "      s[i] = added;\n",
        SM90 + "test_attention_with_a_mask[added-bfloat16]",
    ),
    mutant(
        "attention of sm_90a: what a mask leaves out by -inf is attended",
        "      if (added == -kInfinity<float>) left_out |= uint32_t(1) << i;\n",
        "",
        SM90 + "test_attention_leaves_out_what_a_mask_does[added-nan-64]",
    ),
    mutant(
        "attention of sm_90a, dk and dv: what a mask leaves out is attended",
        " && !(left_out >> e & 1);\n",
        " && !(left_out >> e & 0);\n",
        SM90 + "test_attention_with_a_mask[scores-bfloat16]",
    ),
    mutant(
        "attention of sm_90a, dk and dv: rows and keys of a mask are swapped",
        "return t.mask_at[row(e)] + (key(e) < last ? key(e) : last)",
        "return t.mask_at[row(e / 2)] + (key(e % 2 * 2) < last ? key(e % 2 * 2) : last)",
        SM90 + "test_attention_with_a_mask[scores-bfloat16]",
    ),
    mutant(
        "attention of sm_90a, dk and dv: of two rows the first one's mask",
        "return t.mask_at[row(e)] + (key(e)",
        "return t.mask_at[row(e & ~1)] + (key(e)",
        SM90 + "test_attention_with_a_mask[scores-bfloat16]",
    ),
    mutant(
        "attention of sm_90a, dk and dv: of a group the first head's mask",
        "t.mask_at[r] = mask_start(in, rows.b, rows.head(row), rows.query(row), 0);",
        "t.mask_at[r] = mask_start(in, rows.b, rows.head(0), rows.query(row), 0);",
        SM90 + "test_attention_with_a_mask[scores-of-heads-bfloat16]",
    ),
    mutant(
        "attention of sm_90a: a warp does not hear that another's mask leaves something out",
        "    some_partial = all[0] | all[1] | all[2] | all[3];\n",
        "    some_partial = all[Attend::warp() % 4];\n",
        SM90 + "test_attention_with_a_mask[all-but-one-bfloat16]",
    ),
    mutant(
        "attention of sm_90a: a warp hears of a mask before the others have said what theirs does",
        "    bar_sync(1 + warpgroup(), 128);\n",
        "",
        SM90 + "test_tiles_that_are_attended_to_in_full_are_multiplied_by_wgmma[mask1-64]",
    ),
    mutant(
        "attention of sm_90a: a mask that leaves nothing out keeps products from wgmma",
        "    partial = __any_sync(~0u, w.attended != ~0u);\n",
        "    partial |= __any_sync(~0u, w.attended != ~0u);\n",
        SM90 + "test_tiles_that_are_attended_to_in_full_are_multiplied_by_wgmma[mask1-64]",
    ),
]
