"""Generation: the cache against the full forward, sampling, stopping, sliding, many threads."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, models, nn
from pyformer.generation import Decoder, Sampler
from pyformer.models import GPT, GPTConfig

VOCAB, CONTEXT = 53, 32


@pytest.fixture(scope="module")
def model():
    pf.manual_seed(1)
    result = GPT(GPTConfig(VOCAB, CONTEXT, num_layers=2, num_heads=4, embed_dim=32))
    rng = np.random.default_rng(0)
    # Trained-looking weights: with the initial ones the logits are nearly flat.
    result.load_state_dict(
        {n: t.to("cpu").numpy() + 0.15 * rng.standard_normal(t.shape) for n, t in result.state_dict().items()}
    )
    return result.eval()


def uncached(model, prompt, new_tokens, **options):
    """What generate promises, from full forward passes alone."""
    choose = Sampler(**options)
    row = list(prompt)
    window = list(prompt)
    for _ in range(new_tokens):
        if len(window) > CONTEXT:
            window = window[-(CONTEXT // 2) :]
        logits = model([window]).to("cpu").numpy()[:, -1]
        row.append(choose(logits[0], text=row))
        window.append(row[-1])
    return row


@pytest.mark.parametrize("options", [{"temperature": 0}, {"seed": 3}, {"seed": 4, "top_p": 0.8}])
def test_cached_equals_uncached(model, options):
    prompt = [5, 1, 2]
    got = model.generate([prompt], 20, **options)
    assert got.dtype == pf.int64
    assert got.shape == (1, 23)
    assert got.to("cpu").numpy()[0].tolist() == uncached(model, prompt, 20, **options)


@pytest.mark.parametrize("packed", [False, True])
def test_cached_logits_have_the_same_bits(model, packed):
    for module in model.modules():
        if isinstance(module, pf.nn.Projection):
            (module.pack if packed else module.unpack)()
    ids = np.random.default_rng(0).integers(0, VOCAB, (3, 16))
    full = model(ids).to("cpu").numpy()
    with pf.no_grad():
        cache = model.new_cache(3, 20)
        lengths = np.array([7, 3, 1])
        got = model.next_logits(ids[:, :7], lengths, cache).to("cpu").numpy()
        np.testing.assert_array_equal(got, full[np.arange(3), lengths - 1])
        for _ in range(9):
            next_ids = ids[np.arange(3), lengths][:, None]
            lengths = lengths + 1
            got = model.next_logits(next_ids, np.ones(3, np.int64), cache).to("cpu").numpy()
            np.testing.assert_array_equal(got, full[np.arange(3), lengths - 1])


def test_rows_do_not_depend_on_their_neighbours(model):
    prompts = [[1, 2, 3, 4, 5], [9], [7, 7]]
    together = model.generate(prompts, 12, seed=10, top_k=7)
    assert isinstance(together, list)
    for row, prompt in enumerate(prompts):
        alone = model.generate([prompt], 12, seed=10 + row, top_k=7)
        assert together[row] == alone.to("cpu").numpy()[0].tolist()


def test_forms_of_prompts(model):
    ids = np.array([[1, 2], [3, 4]])
    expected = model.generate(ids, 4, temperature=0).to("cpu").numpy()
    for form in (ids.tolist(), pf.tensor(ids), ids.astype(np.int32), [ids[0], pf.tensor(ids[1])]):
        np.testing.assert_array_equal(model.generate(form, 4, temperature=0).to("cpu").numpy(), expected)
    np.testing.assert_array_equal(model.generate(ids, 0).to("cpu").numpy(), ids)


def test_stop_and_padding(model):
    free = model.generate([[1], [2], [3]], 10, seed=0).to("cpu").numpy()
    stop = int(free[1, 4])
    rows = model.generate([[1], [2], [3]], 10, seed=0, stop=[stop, 51], pad_id=50).to("cpu").numpy()
    assert rows.shape == (3, 11)
    for row, unstopped in zip(rows, free, strict=True):
        ends = np.flatnonzero(unstopped[1:] == stop)
        end = ends[0] + 2 if ends.size else 11
        np.testing.assert_array_equal(row[:end], unstopped[:end])
        assert (row[end:] == 50).all()
    ragged = model.generate([[1, 2], [2]], 10, temperature=0, stop=range(VOCAB))
    assert [len(row) for row in ragged] == [3, 2]


def test_stream_sees_every_token_as_it_comes(model):
    seen = {0: [], 1: []}
    out = model.generate([[1, 2], [3]], 6, seed=2, stream=lambda row, t: seen[row].append(t))
    assert out == [[1, 2, *seen[0]], [3, *seen[1]]]


def test_stream_must_be_a_function(model):
    with pytest.raises(TypeError, match="generate: stream must be a function"):
        model.generate([[1]], 3, stream=3)


def test_error_in_stream_passes_through(model):
    def fail(row, token):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        model.generate([[1]], 3, stream=fail)


def test_slide_keeps_the_last_half(model):
    prompts = [[1] * 30, [2, 3]]
    out = model.generate(prompts, 60, seed=5, overflow="slide")
    for row, prompt in enumerate(prompts):
        assert out[row] == uncached(model, prompt, 60, seed=5 + row)
    long = list(range(50)) * 2
    got = model.generate([long], 3, temperature=0, overflow="slide").to("cpu").numpy()[0].tolist()
    assert got[100:] == uncached(model, long[-16:], 3, temperature=0)[16:]


def test_seeds(model):
    one, two, other = (model.generate([[1]], 20, seed=s).to("cpu").numpy() for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    pf.manual_seed(7)
    first, second = (model.generate([[1]], 20).to("cpu").numpy() for _ in range(2))
    pf.manual_seed(7)
    np.testing.assert_array_equal(model.generate([[1]], 20).to("cpu").numpy(), first)
    assert not np.array_equal(first, second)


def test_dropout_is_off_and_the_mode_is_kept(model):
    config = GPTConfig(VOCAB, CONTEXT, 1, 2, 16, dropout=0.5)
    dropping = GPT(config)
    one, two = (dropping.generate([[1]], 20, temperature=0).to("cpu").numpy() for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert dropping.training


def test_eight_threads_on_one_model(model):
    def run(seed):
        return model.generate([[seed % 8, 2], [3]], 15, seed=seed)

    expected = [run(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(16))) == expected


def choose(logits, draws=1, **options):
    sampler = Sampler(**options)
    row = np.array(logits, np.float32)
    return [sampler(row) for _ in range(draws)]


def test_greedy_ties_go_to_the_lowest_id():
    assert choose([0.0, 2.0, 1.0, 2.0], temperature=0) == [1]
    assert set(choose([0.0, 2.0, 1.0, 2.0], 50, top_k=1, seed=0)) == {1}
    assert set(choose([1.0, 2.0, 1.0, 1.0], 200, top_k=2, seed=0)) == {0, 1}


def test_sampling_follows_the_distribution():
    probabilities = np.array([0.5, 0.25, 0.15, 0.1])
    logits = np.log(probabilities) + 300.0
    counts = np.bincount(choose(logits, 8000, seed=0), minlength=4) / 8000
    np.testing.assert_allclose(counts, probabilities, atol=0.02)
    sharper = probabilities**2 / (probabilities**2).sum()
    counts = np.bincount(choose(logits, 8000, seed=0, temperature=0.5), minlength=4) / 8000
    np.testing.assert_allclose(counts, sharper, atol=0.02)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, {0}), (0.49, {0}), (0.6, {0, 1}), (0.85, {0, 1, 2}), (1.0, {0, 1, 2, 3})]
)
def test_top_p_keeps_the_fewest_that_suffice(top_p, kept):
    logits = np.log([0.5, 0.25, 0.15, 0.1])
    assert set(choose(logits, 500, seed=0, top_p=top_p)) == kept


def test_extreme_logits():
    assert set(choose([0.0, -np.inf, -np.inf], 50, seed=0)) == {0}
    assert set(choose([1e5, -1e5, 0.0], 50, seed=0, top_p=0.9)) == {0}
    assert set(choose([0.1, 0.2, 0.0], 50, seed=0, temperature=1e-300)) == {1}
    for bad in (np.nan, np.inf):
        for temperature in (0, 1):
            with pytest.raises(ValueError, match="logits of row 0"):
                choose([0.0, bad, 1.0], temperature=temperature)


@pytest.mark.parametrize(
    ("ids", "options", "error", "message"),
    [
        ([], {}, ValueError, "at least one prompt"),
        ([[1], []], {}, ValueError, "prompt 1 is empty"),
        ([[]], {}, ValueError, "prompt 0 is empty"),
        ([1, 2], {}, ValueError, "each prompt must be a list"),
        (np.array([1, 2]), {}, ValueError, r"ids must be \(B, T\)"),
        (np.ones((1, 2)), {}, TypeError, "ids must be integers"),
        ([[1, VOCAB]], {}, IndexError, "id 53 of prompt 0"),
        ([[1], [2, -3]], {}, IndexError, "id -3 of prompt 1"),
        ([[2**64 - 3]], {}, IndexError, "id 18446744073709551613 of prompt 0"),
        (np.full((1, 2), 2**64 - 1, np.uint64), {}, IndexError, "id 18446744073709551615 of prompt 0"),
        ([[1] * 30], {}, ValueError, "exceed the context length 32"),
        ([[1]], {"max_new_tokens": -1}, ValueError, "max_new_tokens"),
        ([[1]], {"max_new_tokens": 2.0}, TypeError, "max_new_tokens"),
        ([[1]], {"temperature": -1}, ValueError, "temperature"),
        ([[1]], {"temperature": float("nan")}, ValueError, "temperature"),
        ([[1]], {"temperature": "hot"}, TypeError, "temperature"),
        ([[1]], {"top_k": 0}, ValueError, "top_k"),
        ([[1]], {"top_k": 2.5}, TypeError, "top_k"),
        ([[1]], {"top_p": 0.0}, ValueError, "top_p"),
        ([[1]], {"top_p": 1.5}, ValueError, "top_p"),
        ([[1]], {"seed": -1}, ValueError, "seed"),
        ([[1]], {"stop": ["x"]}, TypeError, "stop"),
        ([[1]], {"stop": VOCAB}, ValueError, r"stop must be in \[0, 53\), got 53"),
        ([[1]], {"stop": [1, -1]}, ValueError, r"stop must be in \[0, 53\), got -1"),
        ([[1]], {"temperature": float("inf")}, ValueError, "temperature must be 0 or above and finite, got inf"),
        ([[1]], {"temperature": 10**400}, ValueError, "temperature must be a number that a float can hold"),
        ([[1]], {"temperature": 1j}, TypeError, "temperature must be a number, got complex"),
        ([[1]], {"temperature": np.complex64(1)}, TypeError, "temperature must be a number, got complex64"),
        ([[1]], {"top_p": float("nan")}, ValueError, "top_p"),
        ([[1]], {"min_p": float("nan")}, ValueError, "min_p"),
        ([[1]], {"min_p": 10**400}, ValueError, "min_p"),
        ([[1]], {"repetition_penalty": 0.0}, ValueError, "repetition_penalty must be above 0 and finite, got 0"),
        ([[1]], {"repetition_penalty": float("inf")}, ValueError, "repetition_penalty must be above 0 and finite"),
        ([[1]], {"presence_penalty": float("nan")}, ValueError, "presence_penalty must be finite, got nan"),
        ([[1]], {"frequency_penalty": -(10**400)}, ValueError, "frequency_penalty"),
        ([[1]], {"beams": 0}, ValueError, "beams must be at least 1, got 0"),
        ([[1]], {"beams": 10**12}, ValueError, "beams must be at most 10000, got 1000000000000"),
        ([[1]], {"beams": 2.0}, TypeError, "beams must be an int, got float"),
        ([[1]], {"beams": 2, "length_penalty": 1e308}, ValueError, "length_penalty must be between -166.1 and 166.1"),
        ([[1]], {"beams": 2, "length_penalty": -1e308}, ValueError, "length_penalty must be between"),
        ([[1]], {"beams": 2, "length_penalty": 10**400}, ValueError, "length_penalty must be between"),
        ([[1]], {"beams": 2, "length_penalty": float("nan")}, ValueError, "length_penalty must be between"),
        ([[1]], {"beams": 2, "length_penalty": "x"}, TypeError, "length_penalty must be a number, got str"),
        ([[1]], {"pad_id": 2**63}, ValueError, "pad_id must fit in int64"),
        ([[1]], {"overflow": "wrap"}, ValueError, "overflow"),
    ],
)
def test_bad_arguments(model, ids, options, error, message):
    with pytest.raises(error, match=message):
        model.generate(ids, **{"max_new_tokens": 4, **options})


def test_small_numpy_integers_do_not_wrap_around(model):
    two = [[1, 2], [1, 2]]
    wanted = model.generate(two, 6, seed=255).tolist()
    assert model.generate(two, np.uint8(6), seed=np.uint8(255), top_k=np.uint8(VOCAB)).tolist() == wanted
    long = model.generate([[1] * 10], 120, temperature=0, overflow="slide").tolist()
    assert model.generate([[1] * 10], np.int8(120), temperature=0, overflow="slide").tolist() == long
    with pytest.raises(ValueError, match="10 tokens of prompt and 250 new ones exceed"):
        model.generate([[1] * 10], np.uint8(250))
    beams = model.generate(two, 6, beams=130).tolist()
    assert model.generate(two, 6, beams=np.uint8(130)).tolist() == beams
    decoder = Decoder(model, speculate=True)
    decoder.add([1, 2], Sampler(temperature=0), new_tokens=np.int8(126))
    with pytest.raises(TypeError, match="new_tokens must be an int, got float"):
        decoder.add([1, 2], Sampler(temperature=0), new_tokens=2.0)


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1e308},
        {"repetition_penalty": 5e-324},
        {"presence_penalty": 1e308, "frequency_penalty": 1e308},
        {"presence_penalty": -1e308, "frequency_penalty": -1e308},
    ],
)
@pytest.mark.parametrize("temperature", [0, 5e-324, 1e-300, 1.0, 1e308])
@pytest.mark.filterwarnings("error")
def test_penalties_and_temperatures_of_any_size_choose_tokens(options, temperature):
    text, logits = [0, 1, 2, 2, 2], np.array([3.0, -2.0, 1.0, -np.inf, 0.5], np.float32)
    chosen = {Sampler(temperature, seed=seed, **options)(logits, 0, text, 1) for seed in range(20)}
    everything = (
        set(range(5)) if temperature > 1.0 else {0, 4} if options.get("presence_penalty", 0) > 0 else {0, 1, 2, 4}
    )
    assert chosen <= everything - {3}
    assert 0 <= Sampler(temperature, seed=0, **options)(logits[:3], 0, text, 1) < 3  # all of them penalised


def alone(model, prompt, tokens, **options):
    decoder = Decoder(model)
    row = decoder.add(prompt, Sampler(**options))
    return [decoder.step()[row] for _ in range(tokens)]


MODELS = {
    "gpt": lambda: GPT(GPTConfig(VOCAB, CONTEXT, 2, 4, 32)),
    "llama": lambda: models.Llama(models.LlamaConfig(VOCAB, CONTEXT, 2, 4, 32, num_kv_heads=2, window=9)),
    "alibi": lambda: models.Llama(models.LlamaConfig(VOCAB, CONTEXT, 2, 4, 32, positions="alibi")),
    "kan": lambda: models.KANTransformer(models.KANTransformerConfig(VOCAB, CONTEXT, 2, 4, 32)),
    "retnet": lambda: models.RetNet(models.RetNetConfig(VOCAB, CONTEXT, 2, 4, 32)),
    "lstm": lambda: models.LSTM(models.LSTMConfig(VOCAB, CONTEXT, 2, 32)),
    "mlp": lambda: models.MLPLanguageModel(models.MLPLanguageModelConfig(VOCAB, CONTEXT, 2, 32, window=5)),
}


@pytest.mark.parametrize("name", MODELS)
def test_rows_join_and_leave_while_others_go_on(name):
    pf.manual_seed(2)
    model = MODELS[name]().eval()
    prompts = {"a": [1, 2, 3], "b": [4], "c": list(range(12)), "d": [7, 7]}
    expected = {who: alone(model, prompt, 40, seed=ord(who)) for who, prompt in prompts.items()}
    decoder, rows, texts = Decoder(model), {}, {who: [] for who in prompts}
    joins, leaves = {0: "ab", 3: "c", 9: "d"}, {6: "a", 30: "c"}
    for step in range(40):
        for who in joins.get(step, ""):
            rows[decoder.add(prompts[who], Sampler(seed=ord(who)))] = who
        for who in leaves.get(step, ""):
            decoder.remove(next(row for row, other in rows.items() if other == who))
        for row, token in decoder.step().items():
            texts[rows[row]].append(token)
    # Past the 32 tokens of the context each slides at a time of its own.
    assert {who: len(text) for who, text in texts.items()} == {"a": 6, "b": 40, "c": 27, "d": 31}
    assert texts == {who: expected[who][: len(text)] for who, text in texts.items()}
    assert decoder.rows == [1, 3]


def test_a_decoder_without_rows_and_wrong_rows(model):
    decoder = Decoder(model)
    assert decoder.step() == {}
    row = decoder.add([1], Sampler(temperature=0), new_tokens=1)
    with pytest.raises(ValueError, match=r"row must be one of \[0\], got 1"):
        decoder.remove(1)
    decoder.remove(row)
    assert decoder.step() == {}
    with pytest.raises(ValueError, match="is empty"):
        decoder.add([], Sampler())


def test_training_mode_of_state_models_does_not_drop_out():
    pf.manual_seed(0)
    model = models.LSTM(models.LSTMConfig(VOCAB, CONTEXT, 2, 32, dropout=0.5))
    one, two = (model.generate([[1]], 20, temperature=0).to("cpu").numpy() for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["gpt", "lstm"])
@pytest.mark.parametrize("broken", ["model", "sampler"])
def test_a_decoder_goes_on_after_an_exception(name, broken):
    """No row reads or draws twice; a row whose logits are no numbers can be removed."""
    from pyformer.generation import Decoder, Sampler
    from pyformer.models import by_name

    class Stop(BaseException):
        pass

    pf.manual_seed(0)
    sizes = {"vocab_size": 20, "context_length": 16, "num_layers": 2, "num_heads": 2, "embed_dim": 8}
    model = by_name.language_model(name, by_name.language_config(name, **sizes))

    def fail(step):
        """Before the model has read or after it; before the first row's token is drawn or before the second's."""

        def failing(*args):
            if broken == "sampler" and step >= 2 and args[2] == 0:
                return original(*args)
            if broken == "model" and step % 2:
                original(*args)
            raise Stop

        owner, method = (type(model), "next_logits") if broken == "model" else (Sampler, "__call__")
        original = getattr(owner, method)
        return pytest.MonkeyPatch.context(), owner, method, failing

    def texts(breaks):
        decoder, found = Decoder(model), {}
        decoder.add([1, 2, 3], Sampler(seed=1))
        for step in range(6):
            if step == 2:
                decoder.add([4, 5], Sampler(seed=2))
            if step in breaks:
                context, *changes = fail(step)
                with context as patch:
                    patch.setattr(*changes)
                    with pytest.raises(Stop):
                        decoder.step()
            for row, token in decoder.step().items():
                found.setdefault(row, []).append(token)
        return found

    assert texts(breaks=range(6)) == texts(breaks=())


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ([99], IndexError),
        ([-1], IndexError),
        ([1.7], TypeError),
        (["2"], TypeError),
        ([True], TypeError),
        ([], ValueError),
        ([[1, 2]], ValueError),
    ],
)
def test_a_prompt_that_cannot_be_read_does_not_join(prompt, error):
    from pyformer.generation import Decoder, Sampler

    decoder = Decoder(GPT(GPTConfig(20, 32, num_layers=2, num_heads=2, embed_dim=16)))
    with pytest.raises(error, match="Decoder: "):
        decoder.add(prompt, Sampler(temperature=0))
    assert decoder.rows == []


@pytest.fixture
def fresh_model():
    pf.manual_seed(1)
    return GPT(GPTConfig(20, 32, num_layers=2, num_heads=2, embed_dim=16))


def test_what_is_written_through_numpy_is_seen_by_the_next_generation(fresh_model):
    model = fresh_model
    model.generate([[1, 2, 3]], 10, temperature=0)
    rng = np.random.default_rng(5)
    for p in model.parameters():
        p.detach().numpy()[...] = rng.standard_normal(p.shape)
    fresh = GPT(model.config)
    fresh.load_state_dict(model.state_dict())
    got, expected = (m.generate([[1, 2, 3]], 10, temperature=0).numpy() for m in (model, fresh))
    np.testing.assert_array_equal(got, expected)


def packed_projections(model):
    with pf.no_grad():
        return sum(module.packed() is not None for module in model.modules() if isinstance(module, nn.Projection))


def test_weights_are_packed_only_while_texts_are_in_the_making(fresh_model):
    model = fresh_model

    def live():
        return _core.memory_stats()["live_bytes"]

    def fail(row, token):
        raise KeyError

    before = live()
    model.generate([[1, 2]], 8)
    assert live() == before
    with pytest.raises(KeyError) as raised:  # its traceback keeps the frames, and what they hold, alive
        model.generate([[1, 2]], 8, stream=fail)
    assert packed_projections(model) == 0
    del raised
    assert live() == before

    first, second = Decoder(model), Decoder(model)
    rows = [first.add([1], Sampler(temperature=0)), first.add([2], Sampler(temperature=0))]
    second.add([3], Sampler(temperature=0))
    first.step()
    count = packed_projections(model)
    assert count > 0
    for row in rows:
        assert packed_projections(model) == count
        first.remove(row)
    second.step()
    assert packed_projections(model) == count, "the other decoder's"
    del second
    assert packed_projections(model) == 0
    first.add([1], Sampler(temperature=0))
    assert packed_projections(model) == count
    first.close()
    assert first.rows == []
    assert packed_projections(model) == 0
    first.add([1], Sampler(temperature=0))
    assert len(first.step()) == 1
    del first
    assert live() == before


def test_generation_leaves_what_was_packed_by_hand(fresh_model):
    model = fresh_model
    projection = next(module for module in model.modules() if isinstance(module, nn.Projection))
    copied = copy.deepcopy(model)
    projection.pack()
    model.generate([[1, 2]], 8)
    assert packed_projections(model) == 1
    assert packed_projections(copied) == 0
    projection.unpack()


@pytest.mark.parametrize("where", ["ln_1", "ln_2", "mlp.c_fc", "attn.c_attn"])
def test_a_hook_before_a_call_works_in_every_step_as_one_after_it_does(where):
    def made(register, hook):
        pf.manual_seed(0)
        model, calls = pf.models.GPT(pf.models.GPTConfig(61, 40, num_layers=2, num_heads=4, embed_dim=32)).eval(), []
        module = model.h[1].get_submodule(where)
        getattr(module, register)(lambda *given: (calls.append(1), hook(*given))[1])
        return model.generate([[1, 2, 3]], 8, temperature=0, log_probabilities=1)[1], len(calls)

    plain, before = made("register_forward_pre_hook", lambda module, args: None)
    assert made("register_forward_hook", lambda module, args, result: None) == (plain, before)
    assert before >= 8
    changed, calls = made("register_forward_pre_hook", lambda module, args: args[0] * 0.0)
    by_result = made("register_forward_hook", lambda module, args, result: type(module).forward(module, args[0] * 0.0))
    assert (changed, calls) == by_result
    assert changed != plain
