"""Conversation: the template's own words, answers in pieces, and templates made to harm."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest
import real_data

import pyformer as pf
from pyformer import conversation, datasets
from pyformer.conversation import render
from pyformer.models import Llama, LlamaConfig

pytest.importorskip("tokenizers")
pytest.importorskip("jinja2")
QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def smollm2():
    path = real_data.load(datasets.smollm2)
    return path, pf.load_tokenizer(path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_smollm2_knows_the_capital_of_france(smollm2, dtype):
    path, tokenizer = smollm2
    chat = pf.chat(pf.from_pretrained(path, dtype=dtype), tokenizer)
    pieces = list(chat(QUESTION))
    assert "".join(pieces) == "The capital of France is Paris."
    assert len(pieces) > 5
    assert [m["role"] for m in chat.messages] == ["user", "assistant"]
    assert "Rome" in "".join(chat("And of Italy?"))
    assert len(chat.messages) == 4


def test_prompts_are_those_of_transformers(smollm2, tmp_path):
    transformers = pytest.importorskip("transformers")
    _, tokenizer = smollm2
    tokenizer.save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    chat = pf.chat(small(tokenizer), tokenizer, system="Be brief.")
    messages = [*chat.messages, {"role": "user", "content": "<b>né \n"}, {"role": "assistant", "content": "x"}]
    for given in (messages, messages[1:2]):
        wanted = theirs.apply_chat_template(given, tokenize=False, add_generation_prompt=True)
        assert chat.prompt(given) == wanted


def small(tokenizer, **changes) -> Llama:
    pf.manual_seed(1)
    config = {"context_length": 64, "num_layers": 1, "num_heads": 2, "embed_dim": 16, **changes}
    return Llama(LlamaConfig(tokenizer.vocab_size, **config))


def test_what_a_conversation_refuses(smollm2):
    _, tokenizer = smollm2
    model = small(tokenizer)
    with pytest.raises(TypeError, match="chat: expected a language model"):
        pf.chat(pf.nn.Linear(2, 2), tokenizer)
    with pytest.raises(ValueError, match="the ByteTokenizer has no chat template"):
        pf.chat(model, pf.tokenizers.ByteTokenizer())
    with pytest.raises(ValueError, match="tokens, the model 10"):
        pf.chat(Llama(LlamaConfig(10, 64, num_layers=1, num_heads=2, embed_dim=16)), tokenizer)
    with pytest.raises(ValueError, match="max_new_tokens must be at least 1"):
        pf.chat(model, tokenizer, max_new_tokens=0)
    chat = pf.chat(model, tokenizer)
    with pytest.raises(ValueError, match="fill the context length 64"):
        chat("word " * 80)
    assert chat.messages == []
    with pytest.raises(TypeError, match="'role' and 'content'"):
        chat([{"role": "user"}])
    with pytest.raises(ValueError, match="can't write this conversation"):
        chat([{"role": "user", "content": {"a": 1}}])


def test_an_answer_that_is_not_read_to_its_end_is_kept_as_far_as_it_came(smollm2):
    _, tokenizer = smollm2
    chat = pf.chat(small(tokenizer), tokenizer, max_new_tokens=8)
    pieces = chat("Hi")
    first = next(pieces)
    pieces.close()
    assert chat.messages[-1] == {"role": "assistant", "content": first}


def test_the_next_question_ends_the_answer_under_way(smollm2):
    _, tokenizer = smollm2
    chat = pf.chat(small(tokenizer), tokenizer, max_new_tokens=8)
    pieces = chat("Hi")
    first = next(pieces)
    second = "".join(chat("Ho"))
    assert [m["content"] for m in chat.messages] == ["Hi", first, "Ho", second]
    assert list(pieces) == []
    again = pf.chat(small(tokenizer), tokenizer, max_new_tokens=8)
    assert "".join(again(chat.messages[:3])) == second  # the model has read them in that order


def test_messages_take_the_place_of_those_before_and_a_seed_gives_the_same_answer(smollm2):
    _, tokenizer = smollm2
    answers = []
    for _ in range(2):
        chat = pf.chat(small(tokenizer), tokenizer, max_new_tokens=8, temperature=1.0, seed=5)
        "".join(chat("other"))
        answers.append("".join(chat([{"role": "user", "content": "Hi"}])))
        assert [m["content"] for m in chat.messages] == ["Hi", answers[-1]]
    assert answers[0] == answers[1]


def test_guesses_change_no_answer_and_what_was_said_is_read_once(smollm2, monkeypatch):
    _, tokenizer = smollm2
    said, options = ["Hi there", "And then?"], {"max_new_tokens": 9, "seed": 5, "temperature": 0.7}
    answers, passes, read = {}, [], Llama.read_inputs

    def read_inputs(self, ids, *args, **kwargs):
        passes.append(ids.shape[1])
        return read(self, ids, *args, **kwargs)

    monkeypatch.setattr(Llama, "read_inputs", read_inputs)
    for speculate in (False, True):
        chat = pf.chat(small(tokenizer, context_length=256), tokenizer, speculate=speculate, **options)
        passes.clear()
        answers[speculate] = ["".join(chat(text)) for text in said]
        first, second = (len(tokenizer.encode(chat.prompt(chat.messages[:n]))) for n in (1, 3))
        assert first in passes
        assert max(n for n in passes if n != first) < second - first + 8
    assert answers[False] == answers[True]
    with pytest.raises(TypeError, match="temprature"):
        pf.chat(small(tokenizer), tokenizer, temprature=1.0)


def test_stop_strings_end_an_answer_and_are_not_shown(smollm2):
    _, tokenizer = smollm2
    whole = "".join(pf.chat(small(tokenizer), tokenizer, max_new_tokens=20)("Hi"))
    stop = whole[9:12]
    chat = pf.chat(small(tokenizer), tokenizer, max_new_tokens=20, stop_strings=["no such text", stop])
    assert "".join(chat("Hi")) == whole[: whole.index(stop)]
    assert chat.messages[-1]["content"] == whole[: whole.index(stop)]


def test_the_answer_ends_before_its_end_token_and_has_no_special_token(smollm2, monkeypatch):
    _, tokenizer = smollm2
    script = [tokenizer.encode(" yes").tolist()[0], tokenizer.token_id("<repo_name>"), 2, 5]

    class Scripted:
        def __init__(self, model, **options):
            self.left = list(script)

        def add(self, ids, sampler, most):
            assert ids == tokenizer.encode(chat.prompt([{"role": "user", "content": "Hi"}])).tolist()

        def advance(self):
            return {0: [self.left.pop(0)]}

        def close(self):
            assert self.left == [5]

    chat = pf.chat(small(tokenizer), tokenizer)
    monkeypatch.setattr(conversation, "Decoder", Scripted)
    assert list(chat("Hi")) == [" yes"]


HOSTILE = [
    ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "time"),
    ("{{ 'a' * 10**9 }}", "memory"),
    ("{{ 'x'|center(10**12) }}", "memory"),
    ("{{ '%1000000000d' % 1 }}", "memory"),
    ("{{ ('a' * 1000).replace('a', 'b' * 10000).replace('b', 'c' * 10000) }}", "memory"),
    ("{{ (7 ** (10 ** 9)) % 2 }}", "time"),
    ("{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}", "longer than"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "unsafe"),
    ("{{ (''|attr('__class__')).mro() }}", "unsafe"),
    ("{{ messages.append(1) }}", "unsafe"),
    ("{{ '{0.__class__.__mro__}'.format(1) }}", "unsafe"),
    ("{% include '/etc/passwd' %}", "no loader"),
    ("{% if %}", "TemplateSyntaxError"),
    ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ("{{ nothing.at.all }}", "undefined"),
]


def seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(("template", "message"), HOSTILE)
def test_hostile_templates_end_soon_in_one_clear_error(template, message):
    before = seconds_of_children()
    with pytest.raises(ValueError, match=f"chat: the model's template can't write this conversation: .*{message}"):
        render(template, {"messages": [{"role": "user", "content": "x"}]})
    # By processor time, which other work on the machine does not lengthen; the rest is Python's start.
    assert seconds_of_children() - before < conversation.TEMPLATE_SECONDS + 2


def test_a_template_has_what_transformers_gives_it():
    values = {"messages": [{"a": "é<"}]}
    assert render("{% generation %}x{% endgeneration %}{{ messages|tojson }}", values) == 'x[{"a": "é<"}]'
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}\n{{ i }}\n{% endfor %}", {}) == "0\n1\n"
    assert render("{{ strftime_now('%Y')|length }}", {}) == "4"


def pyformer(*arguments, text=""):
    return subprocess.run(
        [sys.executable, "-m", "pyformer", *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_converses(smollm2):
    path, _ = smollm2
    ended = pyformer("chat", path, text=f"{QUESTION}\n\nAnd of Italy?\n")
    assert ended.returncode == 0, ended.stderr
    first, second = ended.stdout.splitlines()
    assert first == "The capital of France is Paris."
    assert "Rome" in second


def test_the_command_line_says_what_is_wrong_in_a_line(tmp_path):
    tokenizer = pf.tokenizers.ByteTokenizer()
    small(tokenizer).save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    ended = pyformer("chat", tmp_path, "--say", "-x")
    assert ended.returncode == 2
    assert ended.stderr == "pyformer chat: the ByteTokenizer has no chat template\n"
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(40))
    ended = pyformer("chat", tmp_path / "x.gguf")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1


def test_a_template_file_beside_the_tokenizer_is_read(smollm2, tmp_path):
    _, tokenizer = smollm2
    tokenizer.save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    opened = pf.load_tokenizer(tmp_path)
    assert pf.chat(small(tokenizer), opened).prompt([{"role": "user", "content": "Hi"}]) == "Hi!"
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["chat_template"] = [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "chat_template.jinja").unlink()
    assert pf.load_tokenizer(tmp_path).chat_template == "b"
