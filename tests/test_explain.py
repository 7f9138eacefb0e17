"""`pyformer explain`: its steps are what the model computes; the page holds the right numbers, and computes them."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, NODE, look

import pyformer as pf
from pyformer.cli import explain, main, pages
from pyformer.cli.explain_models import RUNGS, steps_of
from pyformer.cli.explain_steps import compute
from pyformer.models import (
    BERT,
    GPT,
    LSTM,
    BertConfig,
    Decoder,
    DecoderConfig,
    GPTConfig,
    Llama,
    LlamaConfig,
    LSTMConfig,
)
from pyformer.models.derivation import Size, make_rung
from pyformer.models.language_model import LanguageModel
from pyformer.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer

TOLERANCE = 1e-4
WORDS = ["[unknown]", *(f"w{i}" for i in range(19))]


def small_gpt(**options):
    pf.manual_seed(0)
    return shaken(GPT(GPTConfig(256, 24, 2, 4, 16, **options)))


def small_llama(**options):
    pf.manual_seed(0)
    return shaken(Llama(LlamaConfig(256, 24, 2, 4, 16, num_kv_heads=2, hidden_dim=24, **options)))


def small_decoder(**options):
    pf.manual_seed(0)
    sizes = {"vocab_size": 256, "context_length": 24, "num_layers": 2, "num_heads": 4, "embed_dim": 16}
    return shaken(Decoder(DecoderConfig(**sizes, **options)))


def shaken(model):
    """In evaluation mode, with every parameter random, biases and gains too."""
    for parameter in model.parameters():
        pf.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def small_rung(name):
    pf.manual_seed(0)
    return shaken(make_rung(name, Size(20, 16, 20, causal=True, width=16, heads=4)))


MODELS = {
    "gpt": small_gpt,
    "gpt-untied-gelu": lambda: small_gpt(tied=False, activation="gelu"),
    "gpt-relu": lambda: small_gpt(activation="relu"),
    "gpt-silu": lambda: small_gpt(activation="silu"),
    "llama": small_llama,
    "llama-window": lambda: small_llama(window=3, tied=True),
    "llama-learned": lambda: small_llama(positions="learned"),
    "llama-none": lambda: small_llama(positions="none"),
    "llama-stretched": lambda: small_llama(rope_scaling={"rope_type": "linear", "factor": 3.0}, rope_base=100.0),
    "qwen2": lambda: small_decoder(family="qwen2", qkv_bias=True),
    "phi3": lambda: small_decoder(family="phi3", rotary_dim=2, num_kv_heads=1),
    "smollm3": lambda: small_decoder(family="smollm3", rope_layers=(True, False)),
    **{name: (lambda name=name: small_rung(name)) for name in RUNGS},
}
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def logits_of(model, ids):
    with pf.no_grad():
        return model(pf.tensor([ids])).numpy()[0]


def embedded(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def floats(packed):
    return np.frombuffer(base64.b64decode(packed), "<f4")


@pytest.mark.parametrize("name", MODELS)
def test_the_steps_are_what_the_model_computes(name):
    model = MODELS[name]()
    values = compute(steps_of(model), IDS)
    logits = logits_of(model, IDS)
    assert np.abs(logits).max() > 0.3
    np.testing.assert_allclose(values["logits"].numpy(), logits, atol=2e-5)
    if isinstance(model, LanguageModel):
        with pf.no_grad():
            _, weights = model([IDS], return_weights=True)
        for layer, expected in enumerate(weights, start=1):
            np.testing.assert_allclose(values[f"weights {layer}"].numpy(), expected.numpy()[0], atol=2e-6)


def page_of(name):
    model = MODELS[name]()
    tokenizer = ByteTokenizer() if isinstance(model, LanguageModel) else WordTokenizer(WORDS, 0)
    texts = ["hello, world", "</script> a\nb é"] if isinstance(model, LanguageModel) else ["w3 w1 w4 w1 zzz", "w5"]
    return model, tokenizer, texts, explain.page("A page", model, tokenizer, texts)


@pytest.mark.parametrize("name", ["gpt", "gpt-untied-gelu", "llama-none", "transformer"])
def test_numbers_in_the_page_are_the_librarys(name):
    model, tokenizer, texts, text = page_of(name)
    data = embedded(text)
    held = {key: floats(packed["data"]).reshape(packed["shape"]) for key, packed in data["weights"].items()}
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    if isinstance(model, GPT):
        assert (held["token table"] == state["wte.weight"]).all()
        assert (held["W k 2"] == state["h.1.attn.c_attn.weight"][16:32]).all()
    if isinstance(model, Llama):
        assert (held["gain mlp 2"] == state["layers.1.post_attention_layernorm.weight"]).all()
        assert (held["W gate 1"] == state["layers.0.mlp.gate_proj.weight"]).all()
    assert sum(w.size for w in held.values()) == model.num_parameters()
    for example, words in zip(data["examples"], texts, strict=True):
        ids = tokenizer.encode(words).tolist()
        assert example["ids"] == ids
        expected = logits_of(model, ids)
        assert np.abs(floats(example["numbers"]["logits"]).reshape(expected.shape) - expected).max() < TOLERANCE
        weights = floats(example["numbers"]["weights 2"]).reshape(4, len(ids), len(ids))
        np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
        assert (weights[:, ~np.tri(len(ids), dtype=bool)] == 0).all()


def test_a_page_needs_nothing_else_and_is_well_formed():
    *_, text = page_of("gpt")
    code = re.sub(r"^\s*// .*$", "", re.sub(r'id="data">.*?</script>', "", text, flags=re.S), flags=re.M)
    assert not re.search(r"(https?:|//|src=|href=|@import|fetch\(|XMLHttp|include )", code)
    assert "default-src 'none'" in text
    opened = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "input"):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(text)
    assert opened == []


@pytest.mark.skipif(NODE is None, reason="node is not here to run the page's script")
@pytest.mark.parametrize("name", MODELS)
def test_the_script_computes_every_matrix_as_the_library(name, tmp_path):
    model, tokenizer, texts, text = page_of(name)
    (tmp_path / "data.json").write_text(json.dumps(embedded(text)))
    script = f"""
    {(pages.FOLDER / "forward.js").read_text()}
    const data = JSON.parse(require("fs").readFileSync({json.dumps(str(tmp_path / "data.json"))}, "utf8"));
    const weights = Object.fromEntries(Object.entries(data.weights).map(([name, w]) => [name, unpack(w)]));
    const known = new Map((data.tokenizer.keys || []).map((key, id) => [key, id]));
    const given = {json.dumps(texts)};
    console.log(JSON.stringify(given.map(text => {{
      const ids = tokenize(data.tokenizer, known, text), found = compute(data.steps, weights, ids);
      return [ids, Object.fromEntries(data.steps.map(s => [s.out, [found[s.out].shape, [...found[s.out].data]]]))];
    }})));"""
    (tmp_path / "run.js").write_text(script)
    done = subprocess.run([NODE, str(tmp_path / "run.js")], capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    steps = steps_of(model)
    for words, (ids, found) in zip(texts, json.loads(done.stdout), strict=True):
        assert ids == tokenizer.encode(words).tolist()
        expected = compute(steps, ids)
        assert list(found) == list(expected)
        for out, (shape, numbers) in found.items():
            assert tuple(shape) == expected[out].shape
            np.testing.assert_allclose(np.reshape(numbers, shape), expected[out].numpy(), atol=TOLERANCE, err_msg=out)


@pytest.mark.skipif(NODE is None, reason="node is not here to run the page's script")
def test_the_script_cuts_texts_as_the_tokenizers(tmp_path):
    texts = ["Don't stop: éa_1 A-b!", "x² 日本 9's", ""]
    words = {
        "latin": ["u", "don't", "stop", ":", "a", "1", "!", "é"],
        "unicode": ["u", "don't", "stop", "éa_1", "日本"],
    }
    tokenizers = [*(WordTokenizer(known, 0, cut) for cut, known in words.items()), CharTokenizer.train("".join(texts))]
    given = [explain._tokenizer(tokenizer) for tokenizer in (*tokenizers, ByteTokenizer())]
    script = f"""
    {(pages.FOLDER / "forward.js").read_text()}
    console.log(JSON.stringify({json.dumps(given)}.map(t => {json.dumps(texts)}.map(text =>
      tokenize(t, new Map((t.keys || []).map((key, id) => [key, id])), text)))));"""
    done = subprocess.run([NODE, "-e", script], capture_output=True, encoding="utf-8", timeout=600, check=True)
    for tokenizer, found in zip((*tokenizers, ByteTokenizer()), json.loads(done.stdout), strict=True):
        assert found == [tokenizer.encode(text).tolist() for text in texts], tokenizer.kind


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    small_gpt().save_pretrained(folder)
    ByteTokenizer().save(folder)
    return folder


PRESS = """const press = (element, key) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const title = () => document.getElementById("title").textContent;
const open = name => { const steps = document.getElementById("steps"); steps.value = name; steps.onchange(); };
const read = () => document.getElementById("readout").textContent;
"""


@pytest.mark.skipif(BROWSER is None, reason="no browser is here to open the page")
def test_the_page_in_a_browser(run, tmp_path):
    assert main(["explain", str(run), "--text", "-abc", "--text", "hello"]) == 0
    seen = look(
        run / "explain.html",
        PRESS
        + """
        const seen = { checked: document.getElementById("checked").textContent, first: title() };
        press(document.body, "ArrowRight");
        seen.second = title();
        press(document.body, "ArrowLeft");
        seen.back = title();
        document.getElementById("text").value = "xyz!";
        document.getElementById("text").oninput();
        seen.tokens = [...document.getElementById("tokens").children].map(b => b.textContent);
        open("scores 2");
        document.querySelectorAll("#heads button")[2].click();
        const result = document.getElementById("result");
        result.focus();
        press(result, "ArrowDown");
        press(result, "ArrowDown");
        seen.scrolls = press(result, "ArrowRight");
        seen.still = title();
        seen.score = read();
        seen.captions = [...document.querySelectorAll("figcaption")].map(c => c.textContent.replaceAll("\\u00d7", "x"));
        open("weights 2");
        const map = document.getElementById("result"), box = map.getBoundingClientRect();
        for (let x = box.right; read() === seen.score; x -= 2) {  // beyond the last cell is room for labels
          map.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: box.bottom - 3 }));
        }
        seen.weight = read();
        open("choice");
        seen.bars = [...document.querySelectorAll(".bar")].map(b => [0, 2].map(i => b.children[i].textContent));
        document.querySelector(".bar").click();
        seen.longer = [...document.getElementById("tokens").children].map(b => b.textContent);
        document.getElementById("examples").value = 1;
        document.getElementById("examples").onchange();
        seen.example = [...document.getElementById("tokens").children].map(b => b.textContent).join("");
        seen.paper = getComputedStyle(document.body).backgroundColor;
        return seen;""",
        tmp_path,
    )
    model, ids = pf.from_pretrained(run), list(b"xyz!")
    values = {name: value.numpy() for name, value in compute(steps_of(model), ids).items()}
    assert float(re.search(r"at most ([\d.e+-]+)\.", seen["checked"])[1]) < TOLERANCE
    assert (seen["first"], seen["second"], seen["back"]) == (
        "Input: tokens",
        "Input: look up the tokens",
        "Input: tokens",
    )
    assert seen["tokens"] == list("xyz!")
    assert seen["still"] == "Block 2: attention: scores, before softmax"
    assert seen["captions"][:2] == ["q 2 of head 3: 4 x 4", "k 2 of head 3, transposed: 4 x 4"]
    assert seen["captions"][2] == "gives scores 2 of head 3: 4 x 4 (of all 4 heads: 4 x 4 x 4)"
    assert "query 3 (“z”) met key 2 (“y”)" in seen["score"]

    def number(text):
        return float(re.search(r"column \d+ \([^)]*\) = (\u2212?[\d.e]+)", text)[1].replace("\u2212", "-"))

    first = re.search(r"= \((\S+) . (\S+) \+", seen["score"]).groups()
    operands = [values["q 2"][2, 8], values["k 2"][1, 8]]
    np.testing.assert_allclose([float(x.replace("\u2212", "-")) for x in first], operands, rtol=1e-3)
    assert not seen["scrolls"]
    assert abs(number(seen["score"]) - values["scores 2"][2, 2, 1]) < 1e-3 * abs(values["scores 2"]).max()
    assert abs(number(seen["weight"]) - values["weights 2"][2, 3, 3]) < 1e-3
    logits = logits_of(model, ids)[-1].astype(np.float64)
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    best = np.argsort(-expected, kind="stable")[:10]
    np.testing.assert_allclose([float(p.rstrip("%")) for _, p in seen["bars"]], 100 * expected[best], atol=0.06)
    assert seen["longer"] == [*"xyz!", seen["bars"][0][0]]
    assert seen["example"] == "hello"
    assert seen["paper"] == "rgb(255, 255, 255)"


@pytest.mark.skipif(BROWSER is None, reason="no browser is here to open the page")
def test_a_llama_in_a_browser(tmp_path):
    """Shared heads, turned queries, windows and gates: what is read out is the library's, to its words."""
    folder = tmp_path / "llama"
    small_llama(window=3).save_pretrained(folder)
    ByteTokenizer().save(folder)
    assert main(["explain", str(folder), "--text", "-abcde"]) == 0
    seen = look(
        folder / "explain.html",
        PRESS
        + """
        const seen = { checked: document.getElementById("checked").textContent };
        const readAt = (name, head, row, column) => {
          open(name);
          const heads = document.querySelectorAll("#heads button");
          if (heads.length) heads[head].click();
          const result = document.getElementById("result");
          result.focus();
          for (let i = 0; i < row; i++) press(result, "ArrowDown");
          for (let j = 0; j < column; j++) press(result, "ArrowRight");
          return read();
        };
        seen.turned = readAt("q 2 turned", 3, 4, 1);
        seen.score = readAt("scores 2", 3, 4, 3);
        seen.captions = [...document.querySelectorAll("figcaption")].map(c => c.textContent.replaceAll("\\u00d7", "x"));
        seen.far = readAt("weights 2", 3, 4, 1);
        seen.weight = readAt("weights 2", 3, 4, 3);
        seen.gathered = readAt("gathered 2", 3, 4, 2);
        seen.norm = readAt("read 1", 0, 2, 5);
        seen.passed = readAt("passed 1", 0, 2, 5);
        return seen;""",
        tmp_path,
    )
    assert float(re.search(r"at most ([\d.e+-]+)\.", seen["checked"])[1]) < TOLERANCE
    found = compute(steps_of(pf.from_pretrained(folder)), list(b"-abcde"))
    values = {name: value.numpy() for name, value in found.items()}

    def result(name):
        return float(seen[name].split(" = ")[1].replace("\u2212", "-"))

    # Head 4 of queries uses head 2 of keys and values.
    assert seen["captions"][:2] == ["q 2 turned of head 4: 6 x 4", "k 2 turned of head 2, transposed: 4 x 6"]
    q, k = values["q 2 turned"][4, 12:], values["k 2 turned"][3, 4:]
    close = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(result("turned"), q[1], **close)
    np.testing.assert_allclose(result("score"), values["scores 2"][3, 4, 3], **close)
    np.testing.assert_allclose(values["scores 2"][3, 4, 3], q @ k / 2, rtol=1e-4)
    assert "nothing: this token is too far back" in seen["far"]
    np.testing.assert_allclose(result("weight"), values["weights 2"][3, 4, 3], **close)
    np.testing.assert_allclose(result("gathered"), values["gathered 2"][4, 14], **close)
    np.testing.assert_allclose(result("norm"), values["read 1"][2, 5], **close)
    np.testing.assert_allclose(result("passed"), values["passed 1"][2, 5], **close)


@pytest.mark.skipif(BROWSER is None, reason="no browser is here to open the page")
@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_every_step_fits_a_dark_phone(name, tmp_path):
    run = tmp_path / "run"
    MODELS[name]().save_pretrained(run)
    ByteTokenizer().save(run)
    assert main(["explain", str(run), "--text", "a longer text, here"]) == 0
    seen = look(
        run / "explain.html",
        PRESS
        + """
        const wide = [];
        let steps = 0;
        do {
          steps += 1;
          if (document.documentElement.scrollWidth > window.innerWidth) wide.push(title());
          const result = document.getElementById("result");
          if (result) {
            result.focus();
            if (!/= |is .* long/.test(read())) wide.push("nothing to read at " + title());
            result.blur();
          }
          press(document.body, "ArrowRight");
        } while (!document.getElementById("next").disabled);
        return { wide, steps, width: window.innerWidth, paper: getComputedStyle(document.body).backgroundColor };""",
        tmp_path,
        width=390,
        dark=True,
    )
    assert seen["width"] == 390
    assert seen["wide"] == []
    assert seen["steps"] > 30
    assert seen["paper"] == "rgb(13, 17, 23)"


@pytest.mark.parametrize("rung", ["attention", "transformer"])
def test_a_rung_by_the_command_line(rung, tmp_path, capsys, monkeypatch):
    """It is trained for the page; the numbers in the page are those of the model that came out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pf.datasets, "shakespeare", lambda: "to be or not to be , that is the question . " * 60)
    assert main(["explain", "--rung", rung, "--steps", "2", "--text", "to be or", "--text", "not that"]) == 0
    assert f"saved explain-{rung}.html" in capsys.readouterr().out
    data = embedded((tmp_path / f"explain-{rung}.html").read_text(encoding="utf-8"))
    assert [example["text"] for example in data["examples"]] == ["to be or", "not that"]
    model, tokenizer = explain.trained_rung(rung, 2)
    for example in data["examples"]:
        assert example["ids"] == list(tokenizer.encode(example["text"]))
        expected = logits_of(model, example["ids"])
        np.testing.assert_allclose(floats(example["numbers"]["logits"]).reshape(expected.shape), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_weights_of_other_dtypes_are_shown_as_float32(dtype, tmp_path):
    small_llama().to(dtype).save_pretrained(tmp_path)
    ByteTokenizer().save(tmp_path)
    assert main(["explain", str(tmp_path), "--text", "abc"]) == 0
    data = embedded((tmp_path / "explain.html").read_text(encoding="utf-8"))
    numbers = floats(data["examples"][0]["numbers"]["logits"])
    values = compute(steps_of(pf.from_pretrained(tmp_path, dtype="float32")), list(b"abc"))
    np.testing.assert_allclose(numbers, values["logits"].numpy().ravel(), atol=2e-5)


def test_without_a_text_the_page_has_what_the_model_can_read(tmp_path):
    """The page's own texts are cut to a short context; those with unknown characters are left out; where none is left
    the model writes some."""
    for name, context, tokenizer, expected in (
        ("short", 5, ByteTokenizer(), ["The f", "A cla", "If th"]),
        ("some", 24, CharTokenizer.train("A class is"), ["A class is"]),
        ("none", 24, CharTokenizer.train("ACGT"), None),
    ):
        folder = tmp_path / name
        shaken(GPT(GPTConfig(tokenizer.vocab_size, context, 1, 2, 8))).save_pretrained(folder)
        tokenizer.save(folder)
        assert main(["explain", str(folder)]) == 0
        data = embedded((folder / "explain.html").read_text(encoding="utf-8"))
        texts = [example["text"] for example in data["examples"]]
        if expected is None:
            assert [text[0] for text in texts] == ["A", "C", "G"]
            assert all(len(text) == 24 and set(text) <= set("ACGT") for text in texts)
        else:
            assert texts == expected


def test_a_model_of_words_is_shown_texts_of_its_own_words(tmp_path):
    """`pyformer explain docs/explain`, which docs/lecture.md names."""
    folder = Path(__file__).parents[1] / "docs" / "explain"
    assert main(["explain", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    data = embedded((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(data["examples"]) == 3
    assert not any(0 in example["ids"] for example in data["examples"])


def test_what_cannot_be_explained_is_refused(run, tmp_path, capsys, monkeypatch):
    for arguments, words in (
        ([], "expected a RUN or --rung NAME"),
        ([str(run), "--rung", "norm"], "not both"),
        ([str(run), "--text", ""], "expected a text of 1 to 24 tokens, '' has 0"),
        ([str(run), "--text", "a" * 25], "has 25"),
    ):
        assert main(["explain", *arguments]) == 2
        assert words in capsys.readouterr().err
    for model in (
        LSTM(LSTMConfig(256, 8, 1, 4)),
        BERT(BertConfig(256, 24, 1, 2, 8)),
    ):
        name = type(model).__name__
        model.save_pretrained(tmp_path / name)
        assert main(["explain", str(tmp_path / name)]) == 2
        message = capsys.readouterr().err
        assert (
            "expected a GPT or a LLaMA, as `pyformer train` makes without --model and with --model llama, got a "
            in message
        )
        assert "`explain --rung` shows attention, mlp, residual, norm, transformer" in message
    for name, options, words in (
        ("alibi", {"positions": "alibi"}, "positions='alibi'"),
        ("olmo2", {"family": "olmo2", "norms": "post", "qk_norm": "width"}, "norms='post', qk_norm='width'"),
        ("granite", {"family": "granite", "residual_scale": 0.5}, "residual_scale=0.5"),
    ):
        model = small_llama(**options) if name == "alibi" else small_decoder(**options)
        model.save_pretrained(tmp_path / name)
        ByteTokenizer().save(tmp_path / name)
        assert main(["explain", str(tmp_path / name)]) == 2
        assert f"the model has {words}, which no page shows" in capsys.readouterr().err
        assert not (tmp_path / name / "explain.html").exists()
    quantised = Llama(LlamaConfig(256, 24, 1, 2, 64)).quantize("q8")
    with pytest.raises(ValueError, match="explain: expected plain weights, got a quantised model"):
        steps_of(quantised)
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 12}
    with pytest.raises(ValueError, match=r"rope_scaling=.*yarn"):
        steps_of(small_llama(rope_scaling=yarn))
    monkeypatch.setattr(explain, "MAX_PARAMETERS", 1000)
    assert main(["explain", str(run)]) == 2
    assert "a page holds at most 1,000" in capsys.readouterr().err
    for rung in ("sum + learned", "importance", "convolution"):
        with pytest.raises(TypeError, match="a rung with queries and keys: attention, mlp"):
            steps_of(small_rung(rung))
