"""How a next token is chosen and how texts end, against `transformers`; guesses, kept prompts, beams change no bit."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

import pyformer as pf
from pyformer import models, nn, tokenizers
from pyformer.generation import Decoder, PromptCache, Sampler, StopText, drafts

VOCAB, CONTEXT = 41, 96


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(theirs, ours), whose random weights make texts that differ."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=None
    )
    theirs = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.15 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("gpt")
    theirs.save_pretrained(folder)
    return theirs, pf.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(pair):
    return pair[1]


def theirs_after(logits, text, **options):
    """The probabilities that `transformers` samples from."""
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=8, n_layer=1, n_head=1))
    config = transformers.GenerationConfig(do_sample=True, **{"top_k": 0, **options})
    processors = model._get_logits_processor(config, len(text))
    scores = processors(torch.tensor([text]), torch.tensor(logits[None]))
    return torch.softmax(scores.double(), -1)[0].numpy()


SETTINGS = [
    {},
    {"temperature": 0.6},
    {"top_k": 5},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.6},
    {"repetition_penalty": 1.3, "temperature": 1.4, "top_k": 12, "top_p": 0.8, "min_p": 0.05},
]


@pytest.mark.parametrize("options", SETTINGS, ids=lambda options: "-".join(options) or "plain")
def test_a_token_is_drawn_from_the_probabilities_of_transformers(options):
    """Each token's share of evenly spaced random numbers is its probability there."""
    rng = np.random.default_rng(3)
    logits = (2.5 * rng.standard_normal(VOCAB)).astype(np.float32)
    text = rng.integers(0, VOCAB, 12).tolist()
    wanted = theirs_after(logits, text, **options)

    class Even:
        place = 0.0

        def __init__(self, *args):
            pass

        def random(self):
            return Even.place

    sampler, counts, many = Sampler(**options, seed=0), np.zeros(VOCAB), 2000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.random, "Generator", Even)
        for number in range(many):
            Even.place = (number + 0.5) / many
            counts[sampler(logits, text=text)] += 1
    np.testing.assert_allclose(counts / many, wanted, atol=1.01 / many)
    assert ((counts > 0) <= (wanted > 0)).all()


def test_presence_and_frequency_penalties_count_what_comes_after_the_prompt():
    logits = np.array([5.0, 4.0, 3.0, 2.9], np.float32)
    text, greedy = [1, 1, 3, 0, 0, 2], {"temperature": 0}
    assert Sampler(**greedy, presence_penalty=0.5)(logits, text=text, start=3) == 0
    assert Sampler(**greedy, presence_penalty=1.5)(logits, text=text, start=3) == 1
    assert Sampler(**greedy, presence_penalty=1.5)(logits, text=text, start=0) == 0  # 3.5, 2.5, 1.5, 1.4
    assert Sampler(**greedy, frequency_penalty=0.4)(logits, text=text, start=3) == 0  # 4.2, 4, 2.6, 2.9
    assert Sampler(**greedy, frequency_penalty=0.6)(logits, text=text, start=3) == 1
    assert Sampler(**greedy, frequency_penalty=-3.0)(logits, text=text, start=3) == 0
    assert Sampler(**greedy, frequency_penalty=-3.0)(logits, text=[0, 2, 2, 2], start=1) == 2


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.4}], ids=["plain", "penalty"])
def test_greedy_texts_and_log_probabilities_equal_transformers(pair, options):
    theirs, model = pair
    prompt = [[3, 1, 4, 1, 5]]
    there = theirs.generate(
        torch.tensor(prompt), max_new_tokens=30, do_sample=False, output_logits=True, return_dict_in_generate=True,
        pad_token_id=0, **options,
    )  # fmt: skip
    rows, found = model.generate(prompt, 30, temperature=0, log_probabilities=3, **options)
    assert rows.tolist() == there.sequences.tolist()
    assert [chosen.token for chosen in found[0]] == rows.tolist()[0][5:]
    for chosen, logits in zip(found[0], there.logits, strict=True):
        wanted = torch.log_softmax(logits[0].double(), -1)
        best = torch.topk(wanted, 3)
        assert chosen.log_probability == pytest.approx(wanted[chosen.token].item(), abs=1e-5)
        assert [token for token, _ in chosen.likeliest] == best.indices.tolist()
        np.testing.assert_allclose([p for _, p in chosen.likeliest], best.values, atol=1e-5)
    assert model.generate(prompt, 4, temperature=0, log_probabilities=0)[1][0][0].likeliest == []


def test_a_text_that_is_continued_with_its_seed_is_what_one_call_makes(model):
    whole = model.generate([[1, 2]], 40, seed=9).tolist()
    part = model.generate([[1, 2]], 15, seed=9).tolist()
    assert model.generate(part, 25, seed=9).tolist() == whole
    assert model.generate(part, 25, seed=10).tolist() != whole


BEAMS = [(3, 1.0, False), (4, 0.5, True), (2, 2.0, "never"), (2, -1.0, False)]


@pytest.mark.parametrize(("beams", "penalty", "early"), BEAMS)
def test_beam_search_equals_transformers(pair, beams, penalty, early):
    """Several ends, prompts of one length and of several."""
    theirs, model = pair
    rng, stops = np.random.default_rng(beams), [4, 17]
    differ = 0
    for _ in range(3):
        prompts = rng.integers(0, VOCAB - 1, (2, 6))  # without what pads there
        options = {"num_beams": beams, "length_penalty": penalty, "early_stopping": early, "do_sample": False}
        options |= {"max_new_tokens": 12, "eos_token_id": stops, "pad_token_id": 40, "top_k": None}
        there = theirs.generate(torch.tensor(prompts), **options).tolist()
        ours = model.generate(
            prompts, 12, beams=beams, length_penalty=penalty, early_stopping=early, stop=stops, pad_id=40
        ).tolist()
        assert [row + [40] * (18 - len(row)) for row in there] == ours
        differ += model.generate(prompts, 12, temperature=0, stop=stops, pad_id=40).tolist() != ours
    assert differ > 0
    rows = model.generate([[1, 2], [3, 4, 5]], 9, beams=beams, length_penalty=penalty, early_stopping=early)
    for row, prompt in zip(rows, ([1, 2], [3, 4, 5]), strict=True):
        alone = model.generate([prompt], 9, beams=beams, length_penalty=penalty, early_stopping=early)
        assert alone.tolist() == [row]


def test_a_states_model_is_searched_by_beams():
    pf.manual_seed(4)
    model = models.LSTM(models.LSTMConfig(VOCAB, CONTEXT, 1, 16)).eval()
    assert model.generate([[1, 2], [3]], 5, beams=3)[1][:1] == [3]


CACHED = {
    "gpt": lambda: models.GPT(models.GPTConfig(VOCAB, CONTEXT, 2, 4, 32)),
    "llama": lambda: models.Llama(models.LlamaConfig(VOCAB, CONTEXT, 2, 4, 32, num_kv_heads=2, window=9)),
    "alibi": lambda: models.Llama(models.LlamaConfig(VOCAB, CONTEXT, 2, 4, 32, positions="alibi")),
    "kan": lambda: models.KANTransformer(models.KANTransformerConfig(VOCAB, CONTEXT, 2, 4, 32)),
    "gemma": lambda: models.Decoder(
        models.DecoderConfig(
            VOCAB, CONTEXT, 2, 4, 32, family="gemma2", norms="sandwich", centred_norms=True, activation="gelu_tanh",
            embed_scale=32**0.5, window=7, layer_types=("sliding_attention", "full_attention"), tied=True,
            attention_softcap=5.0, logit_softcap=3.0, attention_scale=0.25,
        )
    ),
    "longrope": lambda: models.Decoder(
        models.DecoderConfig(
            VOCAB, CONTEXT, 2, 4, 32, family="phi3",
            rope_scaling={
                "rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.4], "long_factor": [1.5, 4.0, 9.0, 9.0],
                "original_max_position_embeddings": 40, "factor": 2.4,
            },
        )
    ),
}  # fmt: skip
SAID = [[5, 6, 7, 8, 9, 5, 6, 7, 1], [2, 3], [4, 1, 2] * 12]


@pytest.fixture(params=CACHED)
def cached(request):
    pf.manual_seed(6)
    return CACHED[request.param]().eval()


def counting(monkeypatch, model):
    """A list to which each pass of the model adds how many tokens it reads."""
    passes, read = [], type(model).read_inputs

    def read_inputs(self, ids, *args, **kwargs):
        passes.append(ids.size)
        return read(self, ids, *args, **kwargs)

    monkeypatch.setattr(type(model), "read_inputs", read_inputs)
    return passes


@pytest.mark.parametrize("options", [{"temperature": 0}, {"seed": 5, "temperature": 0.4}, {"seed": 6, "top_k": 2}])
def test_speculation_changes_no_bit(cached, options, monkeypatch):
    """The texts, and the log-probabilities to the last bit; past the context, where rows are read again, too."""
    options = {**options, "overflow": "slide", "log_probabilities": 2}
    plain = cached.generate(SAID, 100, **options)
    assert cached.generate(SAID, 100, speculate=True, **options) == plain

    def guess(self, most):
        """What is right, but for one token here and there."""
        done = len(self._tokens)
        (row,) = [row for row in plain[0] if row[:done] == self._tokens]
        right = row[done : done + min(most, done % 6)]
        return [(token + (done % 5 == i)) % VOCAB for i, token in enumerate(right)]

    monkeypatch.setattr(drafts.Drafts, "guess", guess)
    passes = counting(monkeypatch, cached)
    assert cached.generate(SAID, 100, speculate=True, **options) == plain
    assert len(passes) < 80
    assert [len(row) - len(said) for row, said in zip(plain[0], SAID, strict=True)] == [100] * 3
    assert [len(found) for found in plain[1]] == [100] * 3


def test_speculation_in_bfloat16(cached):
    small = copy.deepcopy(cached).to("bfloat16")
    assert small.generate(SAID, 50, seed=3, temperature=0.5, speculate=True) == small.generate(
        SAID, 50, seed=3, temperature=0.5
    )


def test_a_wrong_guess_is_taken_back_and_a_right_one_saves_passes(monkeypatch):
    pf.manual_seed(6)
    model = CACHED["gpt"]().eval()
    wanted = model.generate([[1, 2, 3]], 60, temperature=0).tolist()[0][3:]
    for right in (True, False):

        def guess(self, most, right=right):
            done = len(self._tokens) - 3
            return [t if right else (t + 1) % VOCAB for t in wanted[done : done + min(most, 4)]]

        with monkeypatch.context() as patch:
            patch.setattr(drafts.Drafts, "guess", guess)
            passes = counting(patch, model)
            assert model.generate([[1, 2, 3]], 60, temperature=0, speculate=True).tolist()[0][3:] == wanted
        assert len(passes) == (13 if right else 60)


def test_guesses_are_what_followed_before():
    found = drafts.Drafts([1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4])
    assert found.guess(15) == [5, 6, 7]
    assert found.guess(2) == [5, 6]
    assert found.guess(0) == []
    found.learn(3, 3)
    assert found.guess(15) == [5, 6, 7, 1, 2, 3]
    found.extend([9])
    assert found.guess(15) == []
    found.extend([3, 4])  # two tokens that were there, after others than before
    assert found.guess(1) == [9]


def test_models_that_keep_a_state_do_not_speculate_nor_keep_prompts():
    model = models.LSTM(models.LSTMConfig(VOCAB, CONTEXT, 1, 16))
    with pytest.raises(ValueError, match="speculate is not for LSTM"):
        model.generate([[1]], 2, speculate=True)
    with pytest.raises(ValueError, match="LSTM keeps a state"):
        model.generate([[1]], 2, prompt_cache=PromptCache())


def test_a_decoder_that_speculates_gives_lists(model):
    decoder = Decoder(model, speculate=True)
    row = decoder.add([1, 2, 3], Sampler(temperature=0))
    with pytest.raises(ValueError, match="call advance"):
        decoder.step()
    text = []
    while len(text) < 40:
        text += decoder.advance()[row]
    assert text[:40] == model.generate([[1, 2, 3]], 40, temperature=0).tolist()[0][3:]


def test_a_prompt_cache_saves_reading_and_changes_no_bit(cached, monkeypatch):
    """A conversation of growing prompts, a prompt that parts from the others, several rows at once."""
    kept, passes = PromptCache(), counting(monkeypatch, cached)
    text = list(range(20))
    for turn in range(4):
        plain = cached.generate([text], 6, seed=turn).tolist()[0]
        read = sum(passes)
        passes.clear()
        assert cached.generate([text], 6, seed=turn, prompt_cache=kept).tolist()[0] == plain
        crosses = cached.reread_at is not None and len(text) - 7 <= cached.reread_at < len(text)
        if turn and not crosses:
            assert sum(passes) < read - len(text) // 2
        passes.clear()
        text = [*plain, 30 + turn]
    rows = [[*range(10), 40, 39], text, [38], list(range(20))]
    wanted = cached.generate(rows, 12, seed=3)
    passes.clear()
    assert cached.generate(rows, 12, seed=3, prompt_cache=kept) == wanted
    assert max(passes) < 4 * len(text)
    assert cached.generate(rows, 12, seed=3, prompt_cache=kept, speculate=True) == wanted
    slid = cached.generate([text], 90, seed=1, overflow="slide").tolist()
    for _ in range(2):
        assert cached.generate([text], 90, seed=1, overflow="slide", prompt_cache=kept).tolist() == slid


def test_a_prompt_cache_forgets_the_oldest_and_other_weights():
    pf.manual_seed(6)
    model, kept = CACHED["gpt"]().eval(), PromptCache(most_tokens=20)
    for first in (1, 2, 3):
        model.generate([[first] * 8], 3, temperature=0, prompt_cache=kept)
        assert kept.tokens <= 20
    assert kept.tokens == 20
    assert [text[0] for text, _ in kept._texts] == [2, 3]
    model.generate([[3] * 8], 1, temperature=0, prompt_cache=kept)  # no more than what is there
    assert kept.tokens == 20
    kept.clear()
    assert kept.tokens == 0
    model.generate([[1, 2, 3, 4]], 8, temperature=0, prompt_cache=kept)
    optimizer = pf.optim.SGD(model.parameters(), lr=3.0)
    model.loss([[1, 2, 3]], [[7, 7, 7]]).backward()
    optimizer.step()
    wanted = model.generate([[1, 2, 3, 4]], 8, temperature=0).tolist()
    assert model.generate([[1, 2, 3, 4]], 8, temperature=0, prompt_cache=kept).tolist() == wanted
    with pytest.raises(ValueError, match="most_tokens must be at least 1"):
        PromptCache(0)


@pytest.mark.parametrize("change", ["another model", "weights", "precision", "another model's rows"])
def test_a_prompt_cache_keeps_nothing_of_a_text_that_others_were_made_during(change):
    pf.manual_seed(6)
    model, other = CACHED["gpt"]().eval(), CACHED["gpt"]().eval()
    kept, prompt = PromptCache(), list(range(12))
    judged = other if change.startswith("another") else model
    if change == "another model's rows":  # a decoder that is there before the cache is the other's
        decoder = Decoder(model, prompt_cache=kept)
        other.generate([prompt], 4, temperature=0, prompt_cache=kept)
        row = decoder.add(prompt, Sampler(temperature=0))
        assert [decoder.step()[row] for _ in range(4)] == model.generate([prompt], 4, temperature=0)[0, 12:].tolist()
        decoder.close()
    else:
        stream = model.stream([prompt], 8, temperature=0, prompt_cache=kept)
        next(stream)
        if change == "weights":
            with pf.no_grad():
                model.h[0].attn.c_attn.weight *= 2.0
        if change == "precision":
            with pf.autocast("bfloat16"):
                text = [*prompt, *(next(stream)[1] for _ in range(6))]
        else:
            judged.generate([[30, 31]], 2, temperature=0, prompt_cache=kept)
        stream.close()
        prompt = prompt if change != "precision" else model.generate([prompt], 1, temperature=0).tolist()[0] + text[12:]
    wanted = judged.generate([prompt], 4, temperature=0, log_probabilities=1)[1]
    assert judged.generate([prompt], 4, temperature=0, log_probabilities=1, prompt_cache=kept)[1] == wanted


def test_a_prompt_cache_forgets_what_was_computed_otherwise():
    """The scale of LoRA layers, the precision, quantised matrices and another model: no bit depends on the cache."""
    pf.manual_seed(6)
    prompt = list(range(12))

    def check(model, kept):
        wanted = model.generate([prompt], 4, temperature=0, log_probabilities=1)[1]
        assert model.generate([prompt], 4, temperature=0, log_probabilities=1, prompt_cache=kept)[1] == wanted

    model, kept = CACHED["gpt"]().eval(), PromptCache()
    check(model, kept)
    hook = model.h[0].register_forward_hook(lambda module, args, result: result * 1.5)
    check(model, kept)
    hook.remove()
    check(model, kept)
    hook = model.h[0].ln_1.register_forward_pre_hook(lambda module, args: args[0] + 1.0)
    check(model, kept)
    hook.remove()
    check(model, kept)
    with pf.autocast("bfloat16"):
        check(model, kept)
    adapter = pf.lora.add(model, targets=("c_attn",))
    for layer in adapter.layers.values():
        nn.init.normal_(layer.lora_B.weight)
    check(model, kept)
    for layer in adapter.layers.values():
        layer.scale *= 3.0
    check(model, kept)
    model = pf.lora.merge(model)
    coarse = copy.deepcopy(model).quantize("q4")
    model.quantize("q8")
    check(model, kept)
    for module, other in zip(model.modules(), coarse.modules(), strict=True):
        if isinstance(module, nn.Projection):
            module.quantized = other.quantized
    check(model, kept)


def test_a_long_prompt_is_read_in_parts(cached, monkeypatch):
    """No part is longer than is allowed, rows of all lengths, and no bit changes."""
    from pyformer.generation import decoder as module

    prompts = [list(range(40)), [1, 2], [7] * 16, list(range(33))]
    wanted = cached.generate(prompts, 10, seed=1, log_probabilities=1)
    monkeypatch.setattr(module, "PART", 8)
    passes = counting(monkeypatch, cached)
    assert cached.generate(prompts, 10, seed=1, log_probabilities=1) == wanted
    assert max(passes) == (4 * 8 if cached.reread_at is None else 4 * 40)


def test_an_iterator_gives_what_the_callback_sees(model):
    seen = []
    rows = model.generate([[1, 2], [3]], 7, seed=2, stream=lambda *pair: seen.append(pair))
    tokens = model.stream([[1, 2], [3]], 7, seed=2)
    assert [next(tokens) for _ in range(4)] == seen[:4]
    assert list(tokens) == seen[4:]
    assert rows[1] == [3, *(token for row, token in seen if row == 1)]
    with pytest.raises(ValueError, match="temperature must be 0 or above"):
        model.stream([[1]], 7, temperature=-1)
    with pytest.raises(TypeError, match="pad_id"):
        model.stream([[1]], 7, pad_id=1)
    tokens = model.stream([[1]], 7)
    next(tokens)
    projection = next(m for m in model.modules() if isinstance(m, nn.Projection))
    with pf.no_grad():
        assert projection.packed() is not None
        tokens.close()
        assert projection.packed() is None


def test_stop_strings_end_a_row_when_its_new_text_has_one(model):
    tokenizer = tokenizers.CharTokenizer("".join(chr(ord("A") + i) for i in range(VOCAB)))
    free = model.generate([[1, 2], [3], [4]], 30, seed=3)
    texts = [tokenizer.decode(row[len(prompt) :]) for row, prompt in zip(free, ([1, 2], [3], [4]), strict=True)]
    stop = texts[0][7:10]
    got = model.generate([[1, 2], [3], [4]], 30, seed=3, stop_strings=[stop, "no such text"], tokenizer=tokenizer)
    ends = [text.find(stop) for text in texts]
    assert ends[0] >= 0
    for row, whole, prompt, end in zip(got, free, (2, 1, 1), ends, strict=True):
        assert row == whole[: prompt + end + 3 if end >= 0 else None]
    same = model.generate([[1, 2], [3], [4]], 30, seed=3, stop_strings=stop, tokenizer=tokenizer, speculate=True)
    assert same == got
    with pytest.raises(TypeError, match="stop_strings need a tokenizer, got NoneType"):
        model.generate([[1]], 3, stop_strings="x")


def test_beams_past_the_length_where_texts_are_read_again_are_refused_at_once():
    model = CACHED["longrope"]().eval()
    again = model.reread_at
    prompt = np.arange(again - 4)[None] % 20
    assert model.generate(prompt, 5, beams=2).shape == (1, again + 1)
    with pytest.raises(ValueError, match=f"beams don't go past {again} tokens, where Decoder reads texts again; got"):
        model.generate(prompt, 6, beams=2)
    assert model.generate(np.arange(again + 1)[None] % 20, 3, beams=2).shape == (1, again + 4)


def test_a_stop_text_holds_back_what_may_become_one():
    strings, text = ["abab", "bc", "abac"], "xxababab-abac"
    for cuts in range(1 << (len(text) - 1)):
        if bin(cuts).count("1") > 3:
            continue
        stop, shown, last = StopText(strings), "", 0
        for place in [i for i in range(1, len(text)) if cuts >> (i - 1) & 1] + [len(text)]:
            shown += stop.push(text[last:place])
            last = place
        assert (shown, stop.ended, stop.finish()) == ("xx", True, "")
    stop = StopText(["abab"])
    assert [stop.push(piece) for piece in ("a", "b", "a", "c", "aba")] == ["", "", "", "abac", ""]
    assert (stop.finish(), stop.ended) == ("aba", False)
    assert StopText().push("all") == "all"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"min_p": 1.5}, ValueError, r"min_p must be in \[0, 1\]"),
        ({"min_p": "x"}, TypeError, "min_p must be a number"),
        ({"repetition_penalty": 0.0}, ValueError, "repetition_penalty must be above 0"),
        ({"repetition_penalty": float("nan")}, ValueError, "repetition_penalty must be above 0"),
        ({"presence_penalty": float("inf")}, ValueError, "presence_penalty must be finite"),
        ({"frequency_penalty": "x"}, TypeError, "frequency_penalty must be a number"),
        ({"stop_strings": [3]}, TypeError, "stop_strings must be strings, got int"),
        ({"stop_strings": [""]}, ValueError, "stop_strings must not be empty"),
        ({"beams": 0}, ValueError, "beams must be at least 1"),
        ({"beams": 2.0}, TypeError, "beams must be an int"),
        ({"beams": 2, "temperature": 0.5}, ValueError, "beams don't go with temperature"),
        ({"beams": 2, "speculate": True}, ValueError, "beams don't go with speculate"),
        ({"beams": 2, "log_probabilities": 0}, ValueError, "beams don't go with log_probabilities"),
        ({"beams": 2, "presence_penalty": 1.0}, ValueError, "beams don't go with penalties"),
        ({"beams": 2, "overflow": "slide"}, ValueError, "beams don't go with overflow"),
        ({"beams": 2, "length_penalty": float("nan")}, ValueError, "length_penalty must be between"),
        ({"beams": 2, "early_stopping": "soon"}, ValueError, "early_stopping must be True, False or 'never'"),
        ({"log_probabilities": -1}, ValueError, "log_probabilities must be at least 0"),
        ({"speculate": 3}, TypeError, "speculate must be a bool"),
        ({"prompt_cache": {}}, TypeError, "prompt_cache must be a PromptCache"),
    ],
)
def test_bad_settings_are_named(model, options, error, message):
    with pytest.raises(error, match=f"generate: {message}"):
        model.generate([[1]], 3, **options)


def test_generation_config_is_followed_and_given_settings_come_first(pair, tmp_path):
    model = pair[1]

    def opened(**said):
        model.save_pretrained(tmp_path)
        (tmp_path / "generation_config.json").write_text(json.dumps(said))
        return pf.from_pretrained(tmp_path)

    def texts(model, **options):
        return model.generate([[1, 2], [3, 4]], 8, **options).tolist()

    penalised = texts(model, temperature=0, repetition_penalty=1.8)
    assert penalised != texts(model, temperature=0)
    assert texts(opened(do_sample=False, repetition_penalty=1.8)) == penalised
    assert texts(opened(do_sample=False, repetition_penalty=1.8), repetition_penalty=1.0) == texts(model, temperature=0)
    assert texts(opened(min_p=1.0), seed=3) == texts(model, temperature=0)
    searched = opened(num_beams=4, length_penalty=0.0, early_stopping=True, eos_token_id=4)
    assert texts(searched) == texts(model, beams=4, length_penalty=0.0, early_stopping=True, stop=4)
    assert texts(searched, temperature=0) == texts(model, temperature=0, stop=4)
    assert texts(searched, beams=1, seed=3) == texts(model, seed=3, stop=4)
    assert texts(opened(num_beams=4, do_sample=True), seed=3) == texts(model, seed=3)
