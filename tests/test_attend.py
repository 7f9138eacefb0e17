"""`pyformer attend`: the page holds the right weights, needs nothing else and works; the picture is one."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


FAKE_BROWSER = Path(__file__).with_name("fake_browser.js")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here to run the page's script")
def test_script_draws_hovers_and_clicks(run):
    main(["attend", str(run), "abc"])
    done = subprocess.run(
        ["node", str(FAKE_BROWSER), str(run / "attention.html")], capture_output=True, encoding="utf-8", timeout=600
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    _, weights = pf.from_pretrained(run)([ByteTokenizer().encode("abc").tolist()], return_weights=True)
    weights = np.stack([w.numpy()[0] for w in weights])
    assert seen["canvases"] == 6
    assert seen["pixels"] == 6 * 9
    np.testing.assert_allclose((np.array(seen["depths"]) / 255) ** 2, weights[1, 2].reshape(-1), atol=7e-3)
    assert seen["words"] == ["a", "b", "c"]
    percent = [[float(p.rstrip("%")) for p in seen[name]] for name in ("mean", "one")]
    np.testing.assert_allclose(percent[0], 100 * weights.mean((0, 1))[2], atol=0.3)
    np.testing.assert_allclose(percent[1], 100 * weights[1, 2, 2], atol=0.3)
    assert seen["chosen"] == "layer 2, head 3"
    assert seen["again"] == "mean of all heads"


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no browser is here to open the page")
def test_page_works_in_a_browser(run, tmp_path):
    main(["attend", str(run), "abc"])
    page = (run / "attention.html").read_text(encoding="utf-8")
    hover = """<script>
    document.getElementById("queries").children[2].dispatchEvent(new PointerEvent("pointerenter"));
    document.querySelectorAll("canvas")[4].click();
    </script></html>"""
    (tmp_path / "hover.html").write_text(page.replace("</html>", hover), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, *options, f"file://{tmp_path / 'hover.html'}"], capture_output=True, encoding="utf-8", timeout=600
    )
    _, weights = pf.from_pretrained(run)([ByteTokenizer().encode("abc").tolist()], return_weights=True)
    shown = [float(value) for value in re.findall(r'title="([\d.]+)%"', done.stdout)]
    np.testing.assert_allclose(shown, 100 * weights[1].numpy()[0, 1, 2], atol=0.3)
    assert '<span class="from">c</span>' in done.stdout
    assert '<div id="chosen">layer 2, head 2</div>' in done.stdout


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
    assert panel.keys == ["[start]", "a", "b", "c", "a"]
    model = EncoderDecoder(EncoderDecoderConfig(5, 8, 2, 2, 8, bos_id=3, eos_id=4))
    panels = attend.read_attention(model.eval(), tokenizer, "abca")
    assert [panel.name for panel in panels] == ["target to source", "source to itself", "target to itself"]
    cross = panels[0]
    assert cross.weights.shape == (2, 2, len(cross.queries), 4)
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
    tokenizer = CharTokenizer("a\n\t\r\x7f\u200b")
    model = GPT(GPTConfig(6, 8, 1, 1, 4))
    (panel,) = attend.read_attention(model, tokenizer, "a\n\t\r\x7f\u200b")
    assert panel.keys == ["a", "\u23ce", "\u2409", "\u240d", "\\x7f", "\\u200b"]


def test_the_page_is_no_picture(run, capsys):
    assert main(["attend", str(run), "abc", "--out", str(run / "x.png")]) == 2
    assert "--out" in capsys.readouterr().err
    assert not (run / "x.png").exists()


@pytest.mark.parametrize("model", [LSTM(LSTMConfig(256, 8, 1, 4)), ViT(ViTConfig(8, 4, embed_dim=4, num_heads=1))])
def test_a_model_in_which_no_word_attends(model, tmp_path, capsys):
    model.save_pretrained(tmp_path)
    assert main(["attend", str(tmp_path), "abc"]) == 2
    assert f"in a {type(model).__name__} no word attends to another" in capsys.readouterr().err


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
    assert panel.queries == ["[start]", "a", "[unknown]", "film"]
    assert attend._word(ByteTokenizer(), 0xC3) == "\\xc3"
    capsys.readouterr()
    assert main(["attend", str(tmp_path), "film", "--out", str(tmp_path / "x.PNG")]) == 2
    assert "picture goes beside it" in capsys.readouterr().err
