"""Commands outlive what they write to, take any text, and end at Ctrl-C in one line whenever it comes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import pyformer as pf
from pyformer import formats, starting, terminal, tokenizers, training
from pyformer.cli import main
from pyformer.models import GPT, GPTConfig

TEXT = "the quick brown fox\n" * 200
TINY = "--layers 1 --heads 1 --embed 8 --context 8 --batch 2 --warmup 0 --eval-batches 1 --sample-every 0 --threads 1"
NEEDS_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")


def command(*args):
    return [sys.executable, "-m", "pyformer", *map(str, args)]


def train(folder, steps, **options):
    (folder / "a.txt").write_text(TEXT)
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
    return subprocess.Popen(
        command("train", folder / "a.txt", "--out", folder / "run", "--steps", steps, *TINY.split()), **options
    )


def saved_step(run):
    state = formats.load_state(run / training.CHECKPOINT_NAME)
    assert pf.from_pretrained(run) is not None
    return state["step"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert train(folder, 4).wait() == 0
    return folder / "run"


def begun(run):
    """Waits until a run trains."""
    for _ in range(600):
        if (run / training.METRICS_NAME).exists() and (run / training.METRICS_NAME).stat().st_size:
            return
        time.sleep(0.1)
    raise AssertionError("it never began")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_training_outlives_the_reader_of_its_pipe(stream, tmp_path):
    reader, writer = os.pipe()
    process = train(tmp_path, 1200, **{stream: writer})
    os.close(writer)
    begun(tmp_path / "run")
    os.close(reader)
    assert process.wait() == 0
    assert saved_step(tmp_path / "run") == 1200


@NEEDS_FULL
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_training_outlives_the_disk_of_its_log(stream, tmp_path):
    with open("/dev/full", "w") as full:
        assert train(tmp_path, 50, **{stream: full}).wait() == 0
    assert saved_step(tmp_path / "run") == 50


def test_training_outlives_closed_streams(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    line = command("train", tmp_path / "a.txt", "--out", tmp_path / "run", "--steps", 20, *TINY.split())
    assert subprocess.call(["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *line]) == 0
    assert saved_step(tmp_path / "run") == 20


@pytest.mark.parametrize("bar", [False, True])
def test_the_library_trains_on_where_stderr_is_gone(bar, tmp_path, monkeypatch):
    class Gone:
        def write(self, *text):
            raise BrokenPipeError

        flush = isatty = write

    monkeypatch.setattr(sys, "stderr", Gone())
    tokens = np.arange(400) % 10
    model = GPT(GPTConfig(10, 8, num_layers=1, num_heads=1, embed_dim=8))
    options = training.TrainingOptions(steps=3, batch=2, warmup=0, eval_batches=1)
    assert training.Trainer(model, tokens[:300], tokens[300:], options, run=tmp_path).train(progress=bar)
    assert saved_step(tmp_path) == 3


def test_a_terminal_that_closes_stops_a_run_saved(tmp_path):
    pty = pytest.importorskip("pty")
    (tmp_path / "a.txt").write_text(TEXT)
    line = command("train", tmp_path / "a.txt", "--out", tmp_path / "run", "--steps", 10**6, *TINY.split())
    child, terminal_end = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
        os.execv(line[0], line)
    begun(tmp_path / "run")
    os.close(terminal_end)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert saved_step(tmp_path / "run") > 0


def test_a_hangup_that_is_ignored_stays_so(tmp_path):
    process = train(tmp_path, 1200, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    begun(tmp_path / "run")
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0
    assert saved_step(tmp_path / "run") == 1200


@NEEDS_FULL
def test_training_goes_on_where_metrics_and_curve_cannot_be_written(tmp_path, caplog, monkeypatch):
    (tmp_path / training.METRICS_NAME).symlink_to("/dev/full")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.checkpoint, "write_loss_curve", full)
    tokens = np.arange(400) % 10
    model = GPT(GPTConfig(10, 8, num_layers=1, num_heads=1, embed_dim=8))
    options = training.TrainingOptions(steps=3, batch=2, warmup=0, eval_batches=1, log_every=1, eval_every=1)
    assert training.Trainer(model, tokens[:300], tokens[300:], options, run=tmp_path).train()
    assert saved_step(tmp_path) == 3
    assert caplog.text.count("metrics.jsonl can't be written") == 1
    assert "loss curve can't be drawn" in caplog.text


def test_a_torn_line_of_metrics_is_ended(tmp_path):
    class Disk:
        room, data = 20, b""

        def write(self, data):
            taken = data[: self.room]
            if not taken:
                raise OSError(28, "No space left on device")
            self.data, self.room = self.data + taken, self.room - len(taken)
            return len(taken)

    disk = Disk()
    metrics = training.metrics.Metrics(disk)
    metrics.write(step=1)
    metrics.write(step=2)
    metrics.write(step=3)
    disk.room = 1000
    metrics.write(step=4)
    (tmp_path / "m").write_bytes(disk.data)
    assert [entry["step"] for entry in training.read_metrics(tmp_path / "m")] == [1, 4]


@pytest.mark.parametrize("encoding", ["latin-1"])
def test_what_cannot_be_printed_fails_nothing(encoding, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    folder = tmp_path / "漢字"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for args in (
        ["train", tmp_path / "a.txt", "--out", folder, "--steps", "4", *TINY.split()],
        ["info", folder],
        ["attend", folder, "hi 漢"],
        ["generate", folder, "--tokens", "2", "--prompt", "漢"],
    ):
        done = subprocess.run(command(*args), env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    missing = subprocess.run(command("info", tmp_path / "無"), env=environment, capture_output=True)
    assert (missing.returncode, missing.stderr.count(b"\n")) == (2, 1)


@NEEDS_FULL
def test_results_that_cannot_be_written_are_an_error(run):
    for args in (["info", run], ["generate", run, "--tokens", "3"], ["info"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(command(*args), stdout=full, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "No space left" in done.stderr


@NEEDS_FULL
def test_a_drawing_is_finished_where_it_cannot_be_told(run, tmp_path):
    with open("/dev/full", "w") as full:
        assert subprocess.call(command("attend", run, "the", "--out", tmp_path / "a.html"), stdout=full) == 0
    assert (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    "prompt", ["-x", "--", "-", "-h", "--seed", "--prompt", "--tokens=3", "-1", "a -b", "=", "\n-"]
)
def test_any_text_is_a_prompt(run, prompt, capsys):
    for given in (["--prompt", prompt], [f"--prompt={prompt}"]):
        assert main(["generate", str(run), *given, "--tokens", "1", "--temperature", "0"]) == 0
        assert capsys.readouterr().out.startswith(prompt)


def test_a_prompt_is_utf8_in_any_locale(run, tmp_path):
    """Bytes of the command line that the locale has no letters for; of those that are no text what stdin makes of
    them."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    given = [[*command("generate", run, "--tokens", "1"), "--json", f, v] for f, v in (
        ("--prompt", "漢é".encode()), ("--prompt", b"-\xff"), ("--stop", "漢".encode())
    )]  # fmt: skip
    found = [subprocess.run(each, env=environment, capture_output=True, stdin=subprocess.DEVNULL) for each in given]
    assert [each.returncode for each in found] == [0, 0, 0], found
    assert [json.loads(each.stdout)["prompt"] for each in found] == ["漢é", "-\ufffd", ""]


@pytest.mark.parametrize(
    "given",
    [
        *(["-x"], ["--", "-x"], ["-"], ["--", "--"], ["--", "--debug"], ["-1"], ["-x", "--threads", "1"], ["--no=1"]),
        *(["--out"], ["--device"], ["--debug"], ["--out=x"]),
    ],
)
def test_any_text_is_drawn(run, given, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # the page is enough
    out = tmp_path / "page.html"
    assert main(["attend", "--out", str(out), str(run), *given]) == 0
    text = given[-1] if given[0] == "--" else given[0]
    queries = json.loads(out.read_text().split('"queries": ', 1)[1].split("]", 1)[0] + "]")
    assert "".join(queries) == text


def test_a_prompt_without_its_text_is_an_error(run, capsys):
    name = str(run)
    for args in (
        ["generate", name, "--prompt"],
        ["attend", name],
        ["attend", name, "--"],
        ["attend", name, "a", "--no"],
        ["attend", name, "--out", "b"],
        ["attend", name, "a", "--out"],
        ["attend", "--debug"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(args)
        said = capsys.readouterr().err
        assert (ended.value.code, said.count("\n")) == (2, 1)
        assert "\0" not in said


@pytest.mark.parametrize("delay", [0.01, 0.05, 0.15, 0.3])
def test_ctrl_c_while_it_starts_is_one_line(delay, tmp_path):
    # From where the package begins to be imported: before that there is only Python itself.
    flag = tmp_path / "begun"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Begun:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'pyformer.starting': open({str(flag)!r}, 'w').close()\n"
        "sys.meta_path.insert(0, Begun())\n"
    )
    (tmp_path / "a.txt").write_text(TEXT)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(
        command("train", tmp_path / "a.txt", "--out", tmp_path / "run", "--steps", 10**6, "--quiet", *TINY.split()),
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    while not flag.exists():
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.count("\n") == 1 or said.startswith("stopping to save")  # where training had begun


def test_what_hears_ctrl_c_at_the_start_imports_nothing_that_takes_time():
    path = starting.__file__
    code = (
        "import os, sys\n"
        "before = set(sys.modules)\n"
        f"exec(compile(open({path!r}).read(), 'starting', 'exec'), {{'__name__': 'starting'}})\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_program_that_imports_the_library_keeps_its_ctrl_c():
    code = "import signal, pyformer; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"


def padded(folder):
    """A model of 320 tokens beside a tokenizer of 256."""
    pf.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=320, context_length=16, num_layers=1, num_heads=1, embed_dim=8))
    model.save_pretrained(folder)
    tokenizers.ByteTokenizer().save(folder)
    return model


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_spare_tokens_are_no_text_and_generation_goes_on(seed, tmp_path):
    model = padded(tmp_path)
    args = ("generate", tmp_path, "--prompt", "a", "--tokens", "100", "--seed", seed, "--temperature", "1")
    done = subprocess.run(command(*args), capture_output=True)
    assert done.returncode == 0, done.stderr
    ids = model.eval().generate([[97]], 100, temperature=1.0, seed=seed, overflow="slide").numpy()[0]
    assert (ids >= 256).any()
    assert done.stdout.decode() == tokenizers.ByteTokenizer().decode(ids[ids < 256]) + "\n"


def test_a_sample_leaves_spare_tokens_out(tmp_path):
    model = padded(tmp_path)
    tokens = np.arange(400) % 200
    options = training.TrainingOptions(steps=1, batch=2, warmup=0, eval_batches=1)
    tokenizer = tokenizers.ByteTokenizer()
    trainer = training.Trainer(model, tokens[:300], tokens[300:], options, tokenizer=tokenizer)
    assert isinstance(trainer.sample(), str)


def llama_folder(folder, template="<s> $A", **generation):
    """A folder of transformers' with a start token in the tokenizer's template; (model, tokenizer) of theirs."""
    library, torch = pytest.importorskip("tokenizers"), pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    level = library.pre_tokenizers.ByteLevel
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = level(add_prefix_space=False), library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=300, show_progress=False, initial_alphabet=sorted(level.alphabet()), special_tokens=["<s>", "</s>"]
    )
    tokenizer.train_from_iterator(["".join(f"line {i}: the quick brown fox\n" for i in range(80))], trainer)
    special = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = library.processors.TemplateProcessing(single=template, special_tokens=special)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.LlamaConfig(
        vocab_size=len(fast), max_position_embeddings=64, bos_token_id=0, eos_token_id=1, **sizes
    )
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return model, fast


@pytest.mark.parametrize("prompt", ["line 5", "", "é"])
@pytest.mark.parametrize(
    ("template", "generation"), [("<s> $A", {}), ("<s> $A </s>", {}), ("<s> $A", {"eos_token_id": list(range(2, 150))})]
)
def test_a_folder_of_llama_goes_on_as_in_transformers(prompt, template, generation, tmp_path):
    model, fast = llama_folder(tmp_path, template, **generation)
    done = subprocess.run(
        command("generate", tmp_path, "--prompt", prompt, "--tokens", "12", "--temperature", "0"), capture_output=True
    )
    assert done.returncode == 0, done.stderr
    encoded = fast(prompt, return_tensors="pt")
    ids = model.generate(**encoded, max_new_tokens=12, do_sample=False, pad_token_id=1)[0]
    if "</s>" in template or prompt:
        assert done.stdout.decode() == fast.decode(ids, skip_special_tokens=True) + "\n"


def test_what_generation_config_says_is_followed_or_named(tmp_path):
    llama_folder(tmp_path, do_sample=False, repetition_penalty=1.5, no_repeat_ngram_size=7)
    args = ("generate", tmp_path, "--prompt", "line 5", "--tokens", "8")
    first, second = (subprocess.run(command(*args), capture_output=True, text=True) for _ in range(2))
    greedy = subprocess.run(command(*args, "--temperature", "0"), capture_output=True, text=True)
    assert first.stdout == second.stdout == greedy.stdout
    assert "no_repeat_ngram_size" in first.stderr
    assert "repetition_penalty" not in first.stderr
    plain = subprocess.run(command(*args, "--repetition-penalty", "1"), capture_output=True, text=True)
    assert plain.stdout != first.stdout


def test_a_stream_that_fails_is_steady():
    with open(os.devnull) as unwritable:
        stream = terminal.steady(unwritable)
        stream.write("lost")
        stream.flush()
    assert stream.isatty() is False
    assert stream.name == os.devnull
    with contextlib.suppress(SystemExit):
        terminal.announce("told")


def test_work_that_is_heard_gives_its_result_and_its_error():
    assert terminal.heard(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        terminal.heard(lambda: 1 // 0)


def test_a_bar_in_a_log_is_not_drawn_ten_times_a_second(capsys, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: now))
    with terminal.text_bar(True, 10, "long") as bar:
        tick = terminal.ticking(bar)
        drawn = len(capsys.readouterr().err)
        for _ in range(5):
            now += 1.9
            tick()
        assert len(capsys.readouterr().err) == 0 < drawn
        now += 1.9
        tick()
        assert "long" in capsys.readouterr().err
