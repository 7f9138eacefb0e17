"""The command line, each command in a process of its own."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pyformer import _core, tokenizers, training
from pyformer.cli import memory
from pyformer.cli.signals import stop_on_signals
from pyformer.models import GPT, GPTConfig

TINY = "--layers 1 --heads 2 --embed 16 --context 8 --batch 2 --eval-batches 2 --sample-every 0"
TINY = [*TINY.split(), "--threads", "1"]
TEXT = "the quick brown fox jumps over the lazy dog\n" * 20


def command(*args):
    return [sys.executable, "-m", "pyformer", *map(str, args)]


def run(folder, *args, code=0):
    done = subprocess.run(command(*args), cwd=folder, capture_output=True, timeout=600, encoding="utf-8")
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT)
    run(folder, "train", "text.txt", "--out", "run", "--steps", 20, "--eval-every", 10, *TINY)
    return folder


def one_line(done, *words):
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("fly", ["fly"]),
        ("trian", ["trian", "did you mean train?"]),
        ("--verion", ["--verion", "did you mean --version?"]),
        ("train --nonsense", ["pyformer train: unknown arguments: --nonsense (see pyformer train --help)"]),
        ("train --learning-rate 1", ["--learning-rate", "did you mean --lr?"]),
        ("train --batch-size=4", ["--batch-size", "did you mean --batch?"]),
        ("train --hidden-size 64", ["--hidden-size", "did you mean --embed?"]),
        ("train --seq-len 64", ["--seq-len", "did you mean --context?"]),
        ("generate full --temprature 1", ["did you mean --temperature?"]),
        ("train --config none.json", ["none.json", "No such file"]),
        ("train --config config.json", ["config.json", "layer is no setting", "did you mean layers?"]),
        ("train --config lr.json", ["lr.json", "lr", "above 0"]),
        ("train --resume --config config.json", ["--config"]),
        ("generate full --prompt a --prompt-file b", ["not allowed with"]),
        ("generate full --samples 0", ["--samples"]),
        ("eval full", ["FILE"]),
        ("eval nowhere none.txt", ["nowhere", "config.json"]),
        ("completion fish", ["fish", "bash"]),
        ("train none.txt", ["none.txt", "No such file"]),
        ("train pictures", ["pictures", "folder without"]),
        ("train latin1.txt", ["latin1.txt", "0xe9", "byte 3"]),
        ("train binary.txt", ["binary.txt", "binary"]),
        ("train empty.txt", ["empty.txt: is empty, expected a text"]),
        ("train short.txt", ["too short", "context"]),
        ("train --lr nan", ["--lr", "finite", "nan"]),
        ("train --lr -1", ["--lr", "above 0"]),
        ("train --lr 1e999", ["--lr"]),
        ("train --steps 0", ["--steps"]),
        ("train --steps 2.5", ["--steps", "whole"]),
        ("train --batch 99999999999", ["--batch"]),
        ("train --seed -1", ["--seed"]),
        ("train --embed 10 --heads 3", ["--embed 10", "--heads 3"]),
        ("train --embed 65536 --layers 10000", ["out of memory", "parameters", "TiB", "--layers"]),
        ("train --batch 2000000000 --tokenizer char", ["out of memory", "--batch"]),
        ("train --context 2000000000", ["out of memory", "--context"]),
        ("train --device cuda:77", ["cuda:77"]),
        ("train --device tpu", ["--device", "expected 'cpu'", "tpu"]),
        ("generate full --device tpu", ["--device", "tpu"]),
        ("derive --device tpu", ["--device", "tpu"]),
        ("compare --device cuda:77", ["--device", "cuda:77"]),
        ("train --model rnn", ["--model", "rnn", "lstm"]),
        ("train --model retnet --embed 12", ["RetNetConfig", "twice num_heads"]),
        ("train --model lstm --embed 65536 --layers 10000", ["out of memory", "parameters", "TiB", "--layers"]),
        ("train --tokenizer word", ["word"]),
        ("train --step 5", ["--step", "did you mean --steps?"]),
        ("train --out full --steps 1", ["full", "not empty", "--resume"]),
        ("train --out short.txt --steps 1", ["short.txt", "file"]),
        ("train --resume", ["runs"]),
        ("train --resume --out full", ["full", "checkpoint"]),
        ("generate nowhere", ["nowhere", "config.json"]),
        ("generate full --tokens 0", ["--tokens"]),
        ("generate full --temperature -1", ["--temperature"]),
        ("generate full --temperature inf", ["--temperature"]),
        ("generate full --top-k 0", ["--top-k"]),
        ("generate full --top-p 1.5", ["--top-p"]),
        ("info nowhere", ["nowhere"]),
    ],
)
def test_errors_are_one_line(tmp_path, args, words):
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9")
    (tmp_path / "binary.txt").write_bytes(b"ab\0c")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "short.txt").write_bytes(b"short")
    (tmp_path / "config.json").write_text('{"layer": 3}')
    (tmp_path / "lr.json").write_text('{"lr": -1}')
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("keep")
    one_line(run(tmp_path, *args.split(), code=2), *words)
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(tmp_path):
    done = run(tmp_path, "train", "none.txt", "--debug", code=1)
    assert "Traceback" in done.stderr


def test_a_run_holds_everything(trained):
    names = {path.name for path in (trained / "run").iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "training.json",
        "metrics.jsonl",
        "loss_curve.svg",
        "checkpoint",
    }


def test_training_never_overwrites(trained):
    before = (trained / "run" / "model.safetensors").read_bytes()
    one_line(run(trained, "train", "text.txt", "--out", "run", *TINY, code=2), "not empty")
    assert (trained / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("command", [("embed",), ("classify", "predict")], ids=" ".join)
def test_a_model_of_another_kind_is_told_by_its_path(trained, command):
    done = run(trained, *command, "run", "text.txt", *(["--out", "x.npy"] if command == ("embed",) else []), code=2)
    one_line(done, f"pyformer {command[0]}: run: ", "expected a", "GPT")
    assert "TypeError" not in done.stderr


def test_resume_keeps_the_options(trained):
    args = ["train", "--resume", "--out", "run"]
    one_line(run(trained, *args, "--lr", "0.5", code=2), "--lr 0.5", "0.002")
    one_line(run(trained, *args, "--steps", "10", code=2), "--steps 10", "20")
    one_line(run(trained, *args, "--tokenizer", "char", code=2), "char", "byte")
    assert "step 20 of 20" in run(trained, *args, "--steps", "20", "--lr", "0.002").stderr


@pytest.mark.parametrize("model", ["lstm", "llama", "kan"])
def test_other_models_train_and_resume(text, tmp_path, model):
    args = [text, "--model", model, "--steps", 2, *TINY]
    run(tmp_path, "train", *args, "--out", "run")
    run(tmp_path, "train", "--resume", "--out", "run", "--steps", 3)
    one_line(run(tmp_path, "train", "--resume", "--out", "run", "--model", "gpt", code=2), "--model gpt", model)
    assert "3 steps" in run(tmp_path, "info", "run").stdout
    assert run(tmp_path, "generate", "run", "--tokens", 20, "--prompt", "the").stdout.startswith("the")


def test_a_record_without_a_model_is_of_a_gpt(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copy(trained / "text.txt", tmp_path)
    path = tmp_path / "run" / "training.json"
    content = json.loads(path.read_text())
    assert content["settings"].pop("model") == "gpt"
    path.write_text(json.dumps(content))
    assert "step 20 of 20" in run(tmp_path, "train", "text.txt", "--resume", "--out", "run").stderr


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("steps", "a", "steps: expected a whole number"),
        ("heads", 0, "heads: must be from 1"),
        ("heads", True, "heads can't be True"),
        ("lr", -1.0, "lr: must be above 0"),
        ("model", "x", "model must be one of"),
        ("tokenizer", ["byte"], "tokenizer must be one of"),
        ("device", 3, "device: expected 'cpu'"),
        ("device", "tpu", "device: expected 'cpu'"),
        ("vocab", 1, "vocab: must be from 256"),
        ("dtype", "float64", "dtype must be one of float32, bfloat16, float16"),
        ("average", 1.0, "average: must be at least 0"),
    ],
)
def test_a_setting_of_a_record_is_checked(trained, tmp_path, name, value, says):
    shutil.copytree(trained / "run", tmp_path / "run")
    path = tmp_path / "run" / "training.json"
    content = json.loads(path.read_text())
    content["settings"][name] = value
    path.write_text(json.dumps(content))
    one_line(run(tmp_path, "train", "--resume", "--out", "run", code=2), "training.json", says)


def test_a_mean_that_has_begun_keeps_the_run_as_long_as_it_is(text, tmp_path):
    run(tmp_path, "train", text, "--out", "run", "--steps", 4, "--average", 0.5, *TINY)
    done = run(tmp_path, "train", "--resume", "--out", "run", "--steps", 8, "--quiet", code=2)
    one_line(done, "mean of its weights began after step 2")


def test_trains_in_bfloat16(text, tmp_path):
    done = run(tmp_path, "train", text, "--out", "run", "--steps", 2, "--dtype", "bfloat16", *TINY)
    assert "bfloat16 products by " in done.stderr.splitlines()[0]
    assert json.loads((tmp_path / "run" / "training.json").read_text())["settings"]["dtype"] == "bfloat16"
    done = run(tmp_path, "train", "--resume", "--out", "run", "--dtype", "float32", code=2)
    one_line(done, "--dtype float32 (the run has bfloat16)")
    run(tmp_path, "train", "--resume", "--out", "run", "--steps", 4)
    run(tmp_path, "train", text, "--out", "other", "--steps", 2, *TINY)
    losses = [json.loads((tmp_path / f / "metrics.jsonl").read_text().splitlines()[0]) for f in ("run", "other")]
    assert losses[0]["loss"] != losses[1]["loss"]
    one_line(run(tmp_path, "train", text, "--dtype", "float64", code=2), "--dtype", "float64")


def test_a_record_without_a_dtype_is_of_float32(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copy(trained / "text.txt", tmp_path)
    path = tmp_path / "run" / "training.json"
    content = json.loads(path.read_text())
    assert content["settings"].pop("dtype") == "float32"
    path.write_text(json.dumps(content))
    assert "step 20 of 20" in run(tmp_path, "train", "text.txt", "--resume", "--out", "run").stderr


def test_info_says_how_bfloat16_is_multiplied(tmp_path):
    for isa in _core.supported_isas():
        done = subprocess.run(
            command("info"),
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PYFORMER_CPU_ISA": isa},
        )
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("bfloat16 products: ")]
        said = line.removeprefix("bfloat16 products: ")
        assert said.startswith("ref" if isa == "portable" else isa)
        has_instruction = isa in ("avx512_bf16", "amx")
        assert ("plain loops" in said or "emulated by float32 multiply-adds" in said) == (not has_instruction)


def test_resume_notices_a_changed_text(text, tmp_path):
    run(tmp_path, "train", text, "--out", "run", "--steps", 2, *TINY)
    text.write_text(TEXT + "more")
    one_line(run(tmp_path, "train", "--resume", "--out", "run", code=2), "text has changed")


def test_resume_with_more_steps(text, tmp_path):
    run(tmp_path, "train", text, "--out", "run", "--steps", 2, *TINY)
    done = run(tmp_path, "train", "--resume", "--out", "run", "--steps", 4)
    assert "4 steps instead of 2" in done.stderr
    assert json.loads((tmp_path / "run" / "training.json").read_text())["settings"]["steps"] == 4


def test_names_come_from_the_corpus_and_resume_finds_the_latest(text, tmp_path):
    run(tmp_path, "train", text, "--steps", 2, *TINY)
    run(tmp_path, "train", text, "--steps", 3, *TINY)
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 2
    assert all(path.name.startswith("text-") for path in runs)
    assert "step 3 of 3" in run(tmp_path, "train", "--resume").stderr


def test_generate_streams_the_same_text_for_the_same_seed(trained):
    args = ["generate", "run", "--prompt", "the quick", "--tokens", 40, "--seed", 3]
    first, second = run(trained, *args), run(trained, *args)
    assert first.stdout == second.stdout
    assert first.stdout.startswith("the quick")
    assert first.stderr == ""
    assert run(trained, "generate", "run", "--temperature", 0, "--top-k", 3, "--tokens", 5)
    assert run(trained, "generate", "run", "--top-p", 0.5, "--tokens", 5)


def test_generate_follows_penalties_stops_guesses_and_beams(trained):
    """`tokens` counts what was made, the text ends before what stops it, and guesses change nothing."""
    args = ["generate", "run", "--prompt", "the quick", "--tokens", 30, "--seed", 3, "--json"]

    def sample(*more):
        return json.loads(run(trained, *args, *more).stdout)

    plain = sample("--log-probabilities", 2)
    found = plain.pop("log_probabilities")
    assert [len(found), {len(chosen[2]) for chosen in found}] == [30, {2}]
    assert all(chosen[1] <= max(chosen[2].values()) < 0.0 for chosen in found)
    assert sample("--speculate") == plain
    stop = plain["text"][6:9]
    stopped = sample("--stop", stop, "--stop", "no such text")
    assert stopped["text"] == plain["text"][: plain["text"].index(stop)]
    assert stopped["tokens"] < 30
    assert sample("--repetition-penalty", 9, "--min-p", 0.5)["text"] != sample("--min-p", 0.5)["text"]
    assert sample("--frequency-penalty", 9, "--presence-penalty", 9)["text"] != plain["text"]
    beams = ["generate", "run", "--prompt", "the", "--tokens", 5, "--beams", 3]
    assert run(trained, *beams).stdout.startswith("the")
    one_line(run(trained, *beams, "--seed", 3, code=2), "beams don't go with seed")
    one_line(run(trained, "generate", "run", "--log-probabilities", 2, code=2), "goes with --json")


def test_a_closed_pipe_is_no_error(trained):
    process = subprocess.Popen(
        command("generate", "run", "--tokens", 100_000),
        cwd=trained,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.read(5)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=600) == 141


def test_info(trained):
    out = run(trained, "info", "run").stdout
    for word in ("1 layer, ", "16 wide", "parameters", "byte", "20 steps", "validation"):
        assert word in out
    assert "threads" in run(trained, "info").stdout


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("config.json", "n_layer", 2, ["model.safetensors", "28 tensors"]),
        ("config.json", "vocab_size", 300, ["wte.weight must be (300, 16)"]),
        ("config.json", "n_embd", 2**50, ["wte.weight must be"]),
        ("tokenizer.json", "type", "char", ["tokenizer.json", "characters"]),
    ],
)
def test_files_that_disagree_are_refused(trained, tmp_path, name, key, value, words):
    shutil.copytree(trained / "run", tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    for command in ("info", "generate"):
        one_line(run(tmp_path, command, "run", code=2), *words)


def test_a_tokenizer_beyond_the_model_is_refused(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    tokenizers.CharTokenizer("".join(map(chr, range(32, 400)))).save(tmp_path / "run")
    for command in ("info", "generate"):
        one_line(run(tmp_path, command, "run", code=2), "tokenizer has 368 tokens, its model 256")


def test_memory_is_asked_for_before_work(monkeypatch):
    config = GPTConfig(vocab_size=256, context_length=64, num_layers=4, num_heads=4, embed_dim=128)
    available = memory.available_bytes()
    assert available is None or available > 2**20
    memory.check_training_fits(config, 12)
    for limit, fits in ((12 * 10**6, False), (100 * 10**6, True), (None, True)):
        monkeypatch.setattr(memory, "available_bytes", lambda limit=limit: limit)
        with contextlib.nullcontext() if fits else pytest.raises(MemoryError, match="834,304 parameters"):
            memory.check_training_fits(config, 12)


def test_checkpoints_that_are_no_checkpoints(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copy(trained / "text.txt", tmp_path)
    path = tmp_path / "run" / training.CHECKPOINT_NAME
    whole = path.read_bytes()
    for content in (b"", b"\0" * 100, whole[: len(whole) // 2], (trained / "run" / "model.safetensors").read_bytes()):
        path.write_bytes(content)
        one_line(run(tmp_path, "info", "run", code=2), "state.safetensors")
        done = run(tmp_path, "train", "text.txt", "--resume", "--out", "run", "--quiet", code=2)
        one_line(done, "state.safetensors")
        assert path.read_bytes() == content


def test_no_more_memory_is_asked_for_than_training_takes():
    config = GPTConfig(vocab_size=256, context_length=128, num_layers=16, num_heads=4, embed_dim=128)
    model, ids = GPT(config).train(), np.zeros((4, 128), np.int64)
    before = _core.memory_stats()["live_bytes"]
    loss = model.loss(ids, ids)
    kept = _core.memory_stats()["live_bytes"] - before
    assert 0 < config.kept_bytes(batch=4) <= kept
    assert loss.item() > 0


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_damaged_runs_are_refused(trained, tmp_path, name):
    for path in (trained / "run").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    damaged = tmp_path / name
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    one_line(run(tmp_path, "generate", tmp_path, code=2), name)
    one_line(run(tmp_path, "info", tmp_path, code=2), name)


def test_characters_and_byte_pairs(text, tmp_path):
    run(tmp_path, "train", text, "--tokenizer", "char", "--out", "char", "--steps", 2, *TINY)
    done = run(tmp_path, "generate", "char", "--prompt", "THE", code=2)
    one_line(done, "'T'", "vocabulary")
    assert tokenizers.load(tmp_path / "char").vocab_size == len(set(TEXT))
    pytest.importorskip("tokenizers")
    args = ["--tokenizer", "bpe", "--vocab", 280, "--out", "bpe", "--steps", 2]
    run(tmp_path, "train", text, *args, *TINY, "--context", 2)
    assert run(tmp_path, "generate", "bpe", "--prompt", "the", "--tokens", 5).stdout[:3] == "the"


def interrupted(folder, number, *args):
    """Starts a run, sends it a signal once it has begun; (exit code, stderr)."""
    process = subprocess.Popen(command("train", *args), cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    metrics = folder / "run" / training.METRICS_NAME
    deadline = time.monotonic() + 600
    while not training.read_metrics(metrics):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=600)
    return process.returncode, stderr.decode()


LONG = ["text.txt", "--steps", 1000, "--dropout", 0.1, "--save-every", 40, "--log-every", 1, *TINY]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    (folder / "text.txt").write_text(TEXT)
    run(folder, "train", *LONG, "--out", "run")
    return folder / "run"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_an_interrupted_run_goes_on_exactly(straight, text, tmp_path, name, code):
    returned, stderr = interrupted(tmp_path, getattr(signal, name), *LONG, "--out", "run")
    assert returned == code
    assert ("stopping to save" in stderr) == (name != "SIGKILL")
    if name != "SIGKILL":
        assert "pyformer train --resume --out run" in stderr
        assert "Traceback" not in stderr
    run(tmp_path, "train", "--resume", "--out", "run")
    for path in ("model.safetensors", training.CHECKPOINT_NAME):
        assert (tmp_path / "run" / path).read_bytes() == (straight / path).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")
def test_two_processes_never_train_in_one_folder(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copy(trained / "text.txt", tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    resume = ["train", "text.txt", "--resume", "--out", "run", "--steps", 30]
    with training.locked(tmp_path / "run"):
        one_line(run(tmp_path, *resume, code=2), "another process is training in run")
        lock = tmp_path / "run" / training.LOCK_NAME
        assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == {**before, lock: b""}
    run(tmp_path, *resume)


def test_run_that_died_before_its_first_checkpoint_starts_again(trained, tmp_path):
    shutil.copy(trained / "text.txt", tmp_path)
    started = tmp_path / "runs" / "started"
    started.mkdir(parents=True)
    shutil.copy(trained / "run" / "training.json", started)
    (started / ".tokenizer.json.1-ab.tmp").write_bytes(b"cut off")
    run(tmp_path, "train", "--resume", *TINY[-2:])
    for path in ("model.safetensors", "tokenizer.json", training.CHECKPOINT_NAME):
        assert (started / path).read_bytes() == (trained / "run" / path).read_bytes()
    assert not list(started.glob(".*"))
    (started / training.CHECKPOINT_NAME).unlink()
    one_line(run(tmp_path, "train", "--resume", "--out", started, code=2), "no checkpoint")


def test_a_leftover_of_the_record_does_not_block_a_new_run(text, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".training.json.1-ab.tmp").write_bytes(b"cut off")
    (tmp_path / "run" / training.LOCK_NAME).touch()
    run(tmp_path, "train", text, "--out", "run", "--steps", 1, *TINY)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are not UTF-8")
def test_names_that_are_not_utf8(text, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    text.rename(tmp_path / name)
    assert "caf\ufffd" in run(tmp_path, "train", name, "--out", name + "-run", "--steps", 1, *TINY).stdout
    run(tmp_path, "train", "--resume", "--out", name + "-run", "--steps", 2)
    assert "caf\ufffd" in run(tmp_path, "info", name + "-run").stdout


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_training_without_stderr(text, tmp_path):
    line = shlex.join(command("train", text, "--out", "run", "--steps", 2, *TINY))
    assert subprocess.run(f"{line} 2>&-", shell=True, cwd=tmp_path, timeout=600).returncode == 0
    assert subprocess.run(f"{line} 2>&-", shell=True, cwd=tmp_path, timeout=600).returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_second_interrupt_has_its_default_effect():
    before = signal.getsignal(signal.SIGINT)
    asked = []
    with stop_on_signals(lambda: asked.append(True)) as received:
        os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT]
        assert asked == [True]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before
