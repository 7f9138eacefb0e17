"""`pyformer attend`: the page holds the right weights, needs nothing else and works; the picture is one."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import sys

import numpy as np
import pytest
from browser import BROWSER, look

import pyformer as pf
from pyformer.cli import attend, main
from pyformer.models import (
    BERT,
    GPT,
    LSTM,
    BertClassifier,
    BertConfig,
    EncoderDecoder,
    EncoderDecoderConfig,
    GPTConfig,
    KANTransformer,
    KANTransformerConfig,
    Llama,
    LlamaConfig,
    LSTMConfig,
    ViT,
    ViTConfig,
)
from pyformer.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer

TEXT = "</script> a\nb & 'c' é"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    pf.manual_seed(0)
    GPT(GPTConfig(256, 64, 2, 3, 12)).save_pretrained(folder)
    ByteTokenizer().save(folder)
    return folder


def read_page(path):
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(found.group(1))


def test_page_holds_the_models_weights_and_no_address(run, capsys):
    assert main(["attend", str(run), TEXT]) == 0
    text, data = read_page(run / "attention.html")
    assert not re.search(
        r"(https?:|//|src=|href=|@import|fetch\(|XMLHttp)", re.sub(r"^\s*// .*$", "", text, flags=re.M)
    )
    assert "default-src 'none'" in text
    assert data["unit"] == "byte"
    (panel,) = data["panels"]
    ids = ByteTokenizer().encode(TEXT)
    assert panel["keys"] == panel["queries"]
    assert len(panel["keys"]) == ids.size
    assert panel["keys"][:2] == ["<", "/"]
    assert "\u23ce" in panel["keys"]
    stored = np.frombuffer(base64.b64decode(panel["weights"]), np.uint8).reshape(2, 3, ids.size, ids.size) / 255
    _, weights = pf.from_pretrained(run)([ids.tolist()], return_weights=True)
    assert np.abs(stored - np.stack([w.numpy()[0] for w in weights])).max() <= 0.5 / 255 + 1e-6
    assert "saved" in capsys.readouterr().out


def test_page_is_well_formed(run):
    main(["attend", str(run), TEXT])
    opened = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta",):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed((run / "attention.html").read_text(encoding="utf-8"))
    assert opened == []


@pytest.mark.skipif(BROWSER is None, reason="no browser is here to open the page")
@pytest.mark.parametrize(("width", "dark"), [(1100, False), (390, True)])
def test_page_works_in_a_browser(run, tmp_path, width, dark):
    main(["attend", str(run), "abc"])
    seen = look(
        run / "attention.html",
        """
        const titles = () => [...document.getElementById("keys").children].map(span => span.title);
        const chosen = () => document.getElementById("chosen").textContent;
        const press = (element, key) =>
          element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        const seen = { words: [...document.getElementById("queries").children].map(b => b.textContent) };
        document.getElementById("queries").children[2].dispatchEvent(new PointerEvent("pointerenter"));
        seen.mean = titles();
        const heads = document.querySelectorAll("#heads button");
        seen.heads = heads.length;
        heads[6].click();
        seen.one = titles();
        seen.chosen = chosen();
        seen.pressed = [...heads].map(b => b.getAttribute("aria-pressed"));
        const result = document.getElementById("result");
        result.focus();
        press(result, "ArrowDown");
        seen.walked = document.getElementById("readout").textContent;
        const box = result.getBoundingClientRect();  // beyond its last cell is room for labels
        for (let x = box.right; document.getElementById("readout").textContent === seen.walked; x -= 2) {
          result.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: box.bottom - 3 }));
        }
        seen.hovered = document.getElementById("readout").textContent;
        const small = heads[6].querySelector("canvas"), context = small.getContext("2d");
        seen.corner = [...context.getImageData(4, 4, 1, 1).data].slice(3);
        heads[0].click();
        seen.again = chosen();
        seen.lone = document.getElementById("panels").hidden;
        seen.fits = document.documentElement.scrollWidth <= window.innerWidth;
        seen.paper = getComputedStyle(document.body).backgroundColor;
        return seen;""",
        tmp_path,
        width=width,
        dark=dark,
    )
    _, weights = pf.from_pretrained(run)([ByteTokenizer().encode("abc").tolist()], return_weights=True)
    weights = np.stack([w.numpy()[0] for w in weights])
    assert seen["words"] == ["a", "b", "c"]
    assert seen["heads"] == 1 + 6
    percent = [[float(p.rstrip("%")) for p in seen[name]] for name in ("mean", "one")]
    np.testing.assert_allclose(percent[0], 100 * weights.mean((0, 1))[2], atol=0.3)
    np.testing.assert_allclose(percent[1], 100 * weights[1, 2, 2], atol=0.3)
    assert seen["chosen"] == "layer 2, head 3"
    assert seen["pressed"] == [*["false"] * 6, "true"]
    for name, query, key in (("walked", 1, 0), ("hovered", 2, 2)):
        pair = f"layer 2, head 3: “{'abc'[query]}” attends to “{'abc'[key]}”: "
        assert seen[name].startswith(pair)
        assert abs(float(seen[name].removeprefix(pair).rstrip("%.")) - 100 * weights[1, 2, query, key]) < 0.3
    assert seen["corner"] == [255]  # the first token sees itself alone
    assert seen["again"] == "mean of all heads"
    assert seen["lone"]
    assert seen["fits"]
    assert seen["paper"] == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


def test_picture(run, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "x.html"
    assert main(["attend", str(run), "a $^{$ b", "--out", str(out)]) == 0
    data = out.with_suffix(".png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 5000


def test_without_matplotlib_the_page_is_still_made(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["attend", str(run), "abc"]) == 0
    assert "pip install 'pyformer[plot]'" in capsys.readouterr().err
    assert (run / "attention.html").exists()
    assert not (run / "attention.png").exists()


def test_every_model_with_attention():
    pf.manual_seed(0)
    tokenizer = CharTokenizer("abc")
    llama = Llama(LlamaConfig(3, 8, 2, 2, 8))
    (panel,) = attend.read_attention(llama.eval(), tokenizer, "abca")
    assert panel.weights.shape == (2, 2, 4, 4)
    bert = BertClassifier(BertConfig(4, 8, 2, 2, 8))
    (panel,) = attend.read_attention(bert.eval(), tokenizer, "abca")
    assert panel.keys == attend.Tokens(["[start]", "a", "b", "c", "a"], [True, *[False] * 4])
    model = EncoderDecoder(EncoderDecoderConfig(5, 8, 2, 2, 8, bos_id=3, eos_id=4))
    panels = attend.read_attention(model.eval(), tokenizer, "abca")
    assert [panel.name for panel in panels] == ["target to source", "source to itself", "target to itself"]
    cross = panels[0]
    assert cross.weights.shape == (2, 2, len(cross.queries.words), 4)
    np.testing.assert_allclose(cross.weights.sum(-1), 1.0, atol=1e-5)


def test_a_kan_transformer_is_looked_at_too():
    model = KANTransformer(KANTransformerConfig(3, 8, 2, 2, 8))
    (panel,) = attend.read_attention(model.eval(), CharTokenizer("abc"), "abca")
    assert panel.weights.shape == (2, 2, 4, 4)


def test_a_text_is_as_long_as_a_page_can_hold(run, monkeypatch):
    monkeypatch.setattr(attend, "MAX_WEIGHTS", 6 * 10**2)
    model = pf.from_pretrained(run)
    assert attend.read_attention(model, ByteTokenizer(), "a" * 10)[0].weights.shape == (2, 3, 10, 10)
    with pytest.raises(ValueError, match="11 tokens long, expected at most 10"):
        attend.read_attention(model, ByteTokenizer(), "a" * 11)
    pf.manual_seed(4)  # a model that doesn't end
    model = EncoderDecoder(EncoderDecoderConfig(5, 64, 2, 3, 12, bos_id=3, eos_id=4)).eval()
    cross, _, own = attend.read_attention(model, CharTokenizer("abc"), "abca")
    assert cross.weights.shape == (2, 3, 10, 4)
    assert own.weights.shape == (2, 3, 10, 10)


def test_every_token_can_be_seen():
    tokenizer = CharTokenizer(" a\n\t\r\x7f\u200b")
    model = GPT(GPTConfig(7, 8, 1, 1, 4))
    (panel,) = attend.read_attention(model, tokenizer, " a\n\t\r\x7f\u200b")
    assert panel.keys.words == ["\u2423", "a", "\u23ce", "\u2409", "\u240d", "\\x7f", "\\u200b"]


def test_the_page_is_no_picture(run, capsys):
    assert main(["attend", str(run), "abc", "--out", str(run / "x.png")]) == 2
    assert "--out" in capsys.readouterr().err
    assert not (run / "x.png").exists()


@pytest.mark.parametrize("model", [LSTM(LSTMConfig(256, 8, 1, 4)), ViT(ViTConfig(8, 4, embed_dim=4, num_heads=1))])
def test_a_model_in_which_no_word_attends(model, tmp_path, capsys):
    model.save_pretrained(tmp_path)
    assert main(["attend", str(tmp_path), "abc"]) == 2
    assert f"in a {type(model).__name__} no token attends to another" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "words"), [("", "empty"), ("a" * 65, "at most 64")])
def test_bad_text(run, capsys, text, words):
    assert main(["attend", str(run), text]) == 2
    assert words in capsys.readouterr().err
    assert not (run / "attention.html").exists()


def test_a_run_of_words_and_parts_of_characters(tmp_path, capsys):
    """What examples/sentiment.py and compare leave: a BERT and its words; and bytes that are no whole character."""
    words = WordTokenizer(["a", "film", "[unknown]"], unknown=2)
    words.save(tmp_path)
    BERT(BertConfig(words.vocab_size + 2, 8, 1, 2, 8)).save_pretrained(tmp_path)
    assert main(["attend", str(tmp_path), "A lovely film", "--out", str(tmp_path / "page.html")]) == 0
    (panel,) = attend.read_attention(pf.from_pretrained(tmp_path), words, "A lovely film")
    assert panel.queries.words == ["[start]", "a", "[unknown]", "film"]
    assert panel.queries.special == [True, False, True, False]
    assert attend.shown_token(ByteTokenizer(), 0xC3) == "\\xc3"
    capsys.readouterr()
    assert main(["attend", str(tmp_path), "film", "--out", str(tmp_path / "x.PNG")]) == 2
    assert "picture goes beside it" in capsys.readouterr().err
