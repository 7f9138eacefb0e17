"""The comparison's sizes, tasks, races, report and command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from tolerance import same_bits

import pyformer as pf
from pyformer import nn
from pyformer.experiments import compare, compare_models, compare_report, compare_tasks
from pyformer.experiments.compare import Budget, Entrant, Race

TEXT = "The quick brown fox jumps over the lazy dog; 42 others don't.\n" * 60
SENTENCES = ["good fine good film", "bad poor bad film", "good good", "poor"] * 40
LABELS = np.array([1, 0, 1, 0] * 40)
SMALL = {"text": 20_000, "function": 2_200, "series": 2_000, "sentiment": 4_000}


def tasks():
    return {
        "text": compare_tasks.text_task(TEXT),
        "function": compare_tasks.function_task(),
        "series": compare_tasks.series_task(),
        "sentiment": compare_tasks.sentiment_task(SENTENCES, LABELS),
    }


ALL = [(task.name, model) for task in tasks().values() for model in task.entrants]


def start(task, name, budget, seed=0, run=None, **options):
    entrant = task.entrants[name]
    size = compare.find_size(name, entrant, SMALL[task.name])
    return Race(compare.make_model(entrant, size, seed), task, entrant.rate, budget, seed, run, **options)


@pytest.mark.parametrize("name", compare_tasks.TASKS)
def test_models_are_of_equal_size(name):
    task = tasks()[name]
    for model, entrant in task.entrants.items():
        size = compare.find_size(model, entrant, task.parameters)
        assert abs(size.parameters / task.parameters - 1) <= compare.TOLERANCE, model
        assert compare.make_model(entrant, size, 0).num_parameters() == size.parameters
        assert size.width % entrant.unit == 0


def test_size_is_the_best_of_the_first_choice_that_fits():
    entrant = Entrant(lambda layers, width: nn.Linear(layers * width, 10, bias=False), 1e-3, (3, 2, 1), unit=4)
    assert compare.find_size("a", entrant, 361) == compare.Size(3, 12, 360)
    assert compare.find_size("a", entrant, 320) == compare.Size(2, 16, 320)
    assert compare.find_size("a", entrant, 41) == compare.Size(1, 4, 40)
    with pytest.raises(ValueError, match=r"^a: no width gives 20 parameters, the nearest gives 40"):
        compare.find_size("a", entrant, 20)


@pytest.mark.parametrize(("task", "model"), ALL, ids=["-".join(pair) for pair in ALL])
def test_steps_and_seed_decide_the_result(task, model):
    results = []
    for seed, threads in ((0, 1), (0, 2), (1, 2)):
        pf.set_num_threads(threads)
        race = start(tasks()[task], model, Budget(steps=2), seed)
        assert race.race()
        results.append([(step, seen, loss) for step, _, seen, loss in race.points])
    assert results[0] == results[1] != results[2]
    assert [step for step, *_ in results[0]] == [1, 2]


@pytest.mark.parametrize(("task", "model"), [("text", "lstm"), ("series", "mlp"), ("sentiment", "bilstm")])
def test_a_stopped_race_goes_on_as_if_it_never_stopped(task, model, tmp_path):
    task = tasks()[task]
    straight = start(task, model, Budget(steps=8))
    assert straight.race()
    first = start(task, model, Budget(steps=8), run=tmp_path, report=lambda done, text: stop(done))

    def stop(done):
        if done >= 3 / 8:
            first.request_stop()

    assert not first.race()
    assert first.step == 3
    second = start(task, model, Budget(steps=8), run=tmp_path)
    second.restore()
    assert second.seconds == first.seconds
    assert second.points == first.points
    assert second.race()
    assert [(p[0], *p[2:]) for p in second.points] == [(p[0], *p[2:]) for p in straight.points]
    for one, two in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        assert same_bits(one.numpy(), two.numpy())
    third = start(task, model, Budget(steps=8), run=tmp_path)
    third.restore()
    assert third.race()
    without_peak = {**second.result(), "peak_mb": 0}
    assert {**third.result(), "peak_mb": 0} == without_peak


def test_a_race_killed_before_its_last_export_exports(tmp_path):
    task = tasks()["text"]
    first = start(task, "gru", Budget(steps=3), run=tmp_path)
    export = first.export

    def die_at_the_end():
        if first.step == 3:
            raise KeyboardInterrupt
        export()

    first.export = die_at_the_end
    with pytest.raises(KeyboardInterrupt):
        first.race()
    second = start(task, "gru", Budget(steps=3), run=tmp_path)
    second.restore()
    assert second.race()
    for one, two in zip(pf.from_pretrained(tmp_path).parameters(), first.model.parameters(), strict=True):
        assert same_bits(one.numpy(), two.numpy())


def test_time_is_spent_by_training_alone(monkeypatch):
    """By a clock of its own: a training step takes 1/64 s, an evaluation 5 s."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    race = start(tasks()["function"], "mlp", Budget(seconds=0.25))

    def passing(seconds, function):
        def run(*arguments):
            now[0] += seconds
            return function(*arguments)

        return run

    race.optimizer.step = passing(1 / 64, race.optimizer.step)
    race.evaluate = passing(5.0, race.evaluate)
    assert race.race()
    assert race.step == 16
    assert race.seconds == 0.25
    assert now[0] == 100.0 + 0.25 + 5.0 * len(race.points)
    assert race.points[-1][1] == race.seconds
    assert 8 < len(race.points) <= len(compare.EVALUATE_AT)
    assert race.result()["per_second"] == round(race.seen / race.seconds)


def test_losses_are_taken_at_parts_of_the_budget():
    race = start(tasks()["function"], "kan", Budget(steps=64))
    assert race.race()
    assert [step for step, *_ in race.points] == [1, 2, *range(4, 65, 4)]
    seen = compare_tasks.SAMPLES * len(compare_tasks.FORMULAS)
    assert all(point[2] == point[0] * seen for point in race.points)


def test_a_diverged_race_says_so():
    task = tasks()["function"]
    entrant = task.entrants["mlp"]
    size = compare.find_size("mlp", entrant, SMALL["function"])
    race = Race(compare.make_model(entrant, size, 0), task, 1e30, Budget(steps=20), 0)
    with pytest.raises(FloatingPointError):
        race.race()


def test_function_values_are_scaled_and_fresh():
    task = tasks()["function"]
    x, y = task.validation[0]
    assert np.abs(y.mean(axis=0)).max() < 0.05
    assert np.abs(y.std(axis=0) - 1).max() < 0.05
    assert np.abs(x).max() <= 1
    assert not np.array_equal(task.batch_of(0)[0], task.batch_of(1)[0])
    assert np.array_equal(task.batch_of(1)[0], tasks()["function"].batch_of(1)[0])
    assert not np.array_equal(task.batch_of(0)[0], x[: compare_tasks.SAMPLES])


def test_formulas_at_known_places():
    one, zero = np.array([1.0]), np.array([0.0])
    velocities, density, interference, refraction = compare_tasks.FORMULAS
    assert velocities(one, one)[0] == pytest.approx(1.8 / 1.81)
    assert density(zero, -one / 3)[0] == pytest.approx(0.3989422804)
    assert interference(one, zero)[0] == pytest.approx(4.0)
    assert interference(one, one)[0] == pytest.approx(0.0)
    assert np.sin(refraction(one, one))[0] == pytest.approx(0.9)


def test_the_swing_follows_its_equation():
    """Against many small steps of x'' = -2 d x' - w^2 x."""
    x, states, gaps = compare_tasks.oscillator(np.random.default_rng(0), 2)
    scale = np.sqrt(4 * compare_tasks.DAMPING)
    position, speed = np.zeros(2), np.zeros(2)
    for t in range(6):
        dt = gaps[:, t] / 4000
        for _ in range(4000):
            speed = speed - dt * (2 * compare_tasks.DAMPING * speed + compare_tasks.FREQUENCY**2 * position)
            position = position + dt * speed
        speed = speed + x[:, t, 0]
        np.testing.assert_allclose(states[:, t], scale * np.stack([position, speed], axis=1), atol=5e-3)
    assert np.array_equal(x[:, :, 1], gaps)


def test_a_window_sees_no_later_observation():
    model = compare_models.WindowMLP(2, 8, 2, 2)
    x = np.random.default_rng(0).standard_normal((1, 40, 2)).astype("f")
    changed = x.copy()
    changed[:, 20] += 1
    same = (model(x).numpy() == model(changed).numpy()).all(axis=(0, 2))
    assert same[:20].all()
    assert not same[20 : 20 + compare_models.WINDOW].any()
    assert same[20 + compare_models.WINDOW :].all()


def test_padding_does_not_count_in_a_sentence():
    model = compare_models.RecurrentClassifier(nn.GRU, 9, 8, 1, False).eval()
    ids = np.array([[3, 4, 5, 0, 0]])
    assert same_bits(model(ids, np.array([3])).numpy(), model(ids[:, :3], np.array([3])).numpy())


@pytest.mark.parametrize(("task", "model"), ALL, ids=["-".join(pair) for pair in ALL])
def test_every_model_learns(task, model):
    task = tasks()[task]
    race = start(task, model, Budget(steps=40))
    assert race.race()
    losses = [loss for *_, loss in race.points]
    assert losses[-1] < 0.97 * losses[0]
    if task.measure:
        assert task.measure(race.model.eval())["accuracy"] > 0.9


def record_of(name, models, steps=1):
    task = tasks()[name]
    results = {}
    for model in models:
        race = start(task, model, Budget(steps=steps))
        race.race()
        results[model] = {"knob": "layers", "choice": 1, "width": 4, **race.result()}
    settings = {"task": name, "files": ["/home/me/a b.txt"], "models": models, "steps": None, "seconds": 2.5}
    about = {"unit": task.unit, "loss_name": task.loss_name, "logarithmic": task.logarithmic}
    return json.loads(
        json.dumps(
            {
                "pyformer": "1",
                "date": "2026-01-01",
                "machine": "m",
                "settings": {**settings, "parameters": 2000, "seed": 0},
                "results": results,
                **about,
            }
        )
    )


def test_table_and_drawings():
    record = record_of("function", ["kan", "mlp"])
    record["results"]["mlp"]["loss"] = None
    lines = compare_report.table(record).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| kan", "| mlp"]
    assert "diverged" in lines[3]
    assert "1 layer, 4 wide" in lines[2]
    assert "accuracy" not in lines[0]
    for picture in compare_report.drawings(record).values():
        ET.fromstring(picture)
    command = "pyformer compare 'a b.txt' --task function --models kan,mlp --seconds 2.5 --parameters 2000 --seed 0"
    assert compare_report.command(record) == command


def test_a_page_keeps_what_is_around_a_record(tmp_path):
    page = tmp_path / "page.md"
    function, series = record_of("function", ["mlp"]), record_of("series", ["mlp"])
    compare_report.write_page(page, function)
    compare_report.write_page(page, series)
    page.write_text("before\n" + page.read_text().replace("<!-- compare: series", "between\n<!-- compare: series"))
    before = page.read_text()
    compare_report.write_page(page, series)
    assert page.read_text() == before
    function["date"] = "2027-02-02"
    compare_report.write_page(page, function)
    assert page.read_text() == before.replace("2026-01-01", "2027-02-02", 1)
    assert json.loads((tmp_path / "page" / "function" / "results.json").read_text()) == function
    page.write_text(before.replace("<!-- end of series -->", ""))
    with pytest.raises(ValueError, match="end of series"):
        compare_report.write_page(page, series)


def test_a_page_says_nothing_of_time_where_steps_are_the_budget(tmp_path):
    page = tmp_path / "page.md"
    timed, counted = record_of("function", ["mlp"]), record_of("function", ["mlp"])
    counted["settings"] |= {"steps": 7, "seconds": None}
    for record in (timed, counted):
        compare_report.write_page(page, record)
    first, second = page.read_text().split("<!-- compare: function-7-steps -->\n")
    assert "values/s | peak MB | seconds |" in first
    assert "values seen | peak MB |\n" in second
    assert "page/function-7-steps/loss_by_tokens.svg" in second
    made = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in (tmp_path / "page").iterdir()}
    drawn = ["loss_by_time.svg", "loss_by_tokens.svg", "results.json"]
    assert made == {"function": drawn, "function-7-steps": drawn[1:]}


def command(*args):
    return [sys.executable, "-m", "pyformer", *map(str, args)]


def run(folder, *args, code=0):
    done = subprocess.run(command(*args), cwd=folder, capture_output=True, timeout=600, encoding="utf-8")
    assert done.returncode == code, done.stderr
    return done


def losses(folder):
    results = json.loads((folder / "results.json").read_text())["results"]
    return {name: [(p[0], *p[2:]) for p in result["points"]] for name, result in results.items()}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_stopped_comparison_goes_on_to_the_same_losses(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    args = ["text.txt", "--models", "gru,gpt", "--parameters", 20_000, "--steps", 60, "--threads", 1]
    run(tmp_path, "compare", *args, "--out", "straight", "--quiet")
    stopped = command("compare", *args, "--out", "stopped")
    process = subprocess.Popen(stopped, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    metrics = tmp_path / "stopped" / "gpt" / "metrics.jsonl"
    deadline = time.monotonic() + 600
    while not (metrics.exists() and metrics.read_text().count("validation") > 1):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130, stderr
    assert b"pyformer compare --resume --out stopped" in stderr
    assert b"Traceback" not in stderr
    before = (tmp_path / "stopped" / "results.json").read_text()
    assert list(json.loads(before)["results"]) == ["gru"]
    assert "contradicts" in run(tmp_path, "compare", "--resume", "--out", "stopped", "--steps", 9, code=2).stderr
    other = run(tmp_path, "compare", "--resume", "--out", "stopped", "--models", "kan,gru", code=2).stderr
    assert "--models kan,gru contradicts the run, which has gru,gpt" in other
    assert "not empty" in run(tmp_path, "compare", "text.txt", "--out", "stopped", code=2).stderr
    done = run(tmp_path, "compare", "--resume", "--out", "stopped", "--page", "page.md")
    assert "| gpt |" in done.stdout
    assert losses(tmp_path / "stopped") == losses(tmp_path / "straight")
    after = json.loads((tmp_path / "stopped" / "results.json").read_text())
    assert after["results"]["gru"] == json.loads(before)["results"]["gru"]
    made = {path.name for path in (tmp_path / "stopped").iterdir()}
    assert made == {"results.json", "table.md", "loss_by_time.svg", "loss_by_tokens.svg", "gru", "gpt"}
    assert compare_report.block(after, "page/text-60-steps") in (tmp_path / "page.md").read_text()
    (tmp_path / "text.txt").write_text(TEXT.replace("fox", "cat"))
    assert "changed" in run(tmp_path, "compare", "--resume", "--out", "stopped", code=2).stderr


def test_the_rate_is_searched_by_one_rule_and_the_best_is_trained_with_all_seeds(tmp_path):
    args = ["--task", "function", "--models", "mlp,kan", "--parameters", 2_200, "--steps", 12, "--threads", 1]
    args += ["--seed", 5, "--seeds", 3, "--rates", "0.0001,0.01"]
    done = run(tmp_path, "compare", *args, "--out", "all")
    assert "8 runs of 12 steps each" in done.stderr
    record = json.loads((tmp_path / "all" / "results.json").read_text())
    for name, result in record["results"].items():
        best = min(result["searched"], key=result["searched"].get)
        assert list(result["searched"]) == ["0.0001", "0.01"]
        assert result["learning_rate"] == float(best) == 0.01
        assert len(set(result["losses"])) == 3
        assert result["losses"][0] == result["loss"] == result["searched"][best]
        for i, loss in enumerate(result["losses"]):
            task = compare_tasks.load_task("function", [], 5)
            size = compare.find_size(name, task.entrants[name], 2_200)
            alone = Race(compare.make_model(task.entrants[name], size, 5 + i), task, 0.01, Budget(12), 5 + i)
            assert alone.race()
            assert alone.result()["loss"] == loss
        mean, error = np.mean(result["losses"]), np.std(result["losses"], ddof=1) / 3**0.5
        assert f"| {name} |" in done.stdout
        assert f"{mean:.4g} ± {error:.1g}" in done.stdout
        searched = ", ".join(f"{rate}: {loss:.4g}" for rate, loss in result["searched"].items())
        assert f"| {searched} |" in done.stdout
    words = compare_report.command(record)
    assert words.endswith("--steps 12 --parameters 2200 --seed 5 --seeds 3 --rates 0.0001,0.01")
    # Stopped in the middle, it goes on with what is left.
    whole = json.loads((tmp_path / "all" / "results.json").read_text())
    part = {**whole, "results": {"mlp": whole["results"]["mlp"]}, "races": {"kan": {}}}
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "results.json").write_text(json.dumps(part))
    done = run(tmp_path, "compare", "--resume", "--out", "part")
    assert "4 runs of 12 steps each" in done.stderr
    assert losses(tmp_path / "part") == losses(tmp_path / "all")
    assert not (tmp_path / "part" / "mlp-0.01-5").exists()


def test_a_race_that_diverged_is_the_worst_rate():
    done = {"0.1-0": {"loss": None}, "0.01-0": {"loss": 2.0}, "0.001-0": {"loss": 2.0}}
    assert compare.next_race([0.1, 0.01, 0.001], range(2), {}) == (0.1, 0)
    assert compare.next_race([0.1, 0.01, 0.001], range(2), done) == (0.001, 1)
    done["0.001-1"] = {"loss": None}
    assert compare.next_race([0.1, 0.01, 0.001], range(2), done) is None
    result = compare.joined([0.1, 0.01, 0.001], range(2), done)
    assert result["losses"] == [2.0, None]
    assert compare_report._losses(result["losses"]) == "1 of 2 diverged"


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    (folder / "text.txt").write_text(TEXT)
    run(folder, "compare", "text.txt", "--parameters", 20_000, "--steps", 2, "--out", "run", "--threads", 1)
    return folder


@pytest.mark.parametrize("model", tasks()["text"].entrants)
def test_every_language_model_can_be_described_and_continues_texts(family, model):
    about = run(family, "info", f"run/{model}").stdout
    for words in (" layer", "context 64", "parameters", "char, ", "2 steps", "validation"):
        assert words in about
    made = run(family, "generate", f"run/{model}", "--prompt", "The quick", "--tokens", 80, "--seed", 1)
    assert made.stdout.startswith("The quick")
    assert made.stderr == ""


def test_results_of_a_run(family):
    record = json.loads((family / "run" / "results.json").read_text())
    assert list(record["results"]) == list(tasks()["text"].entrants)
    for name, result in record["results"].items():
        assert abs(result["parameters"] / 20_000 - 1) <= compare.MAX_DIFFERENCE, name
        assert result["steps"] == 2
        assert result["seen"] == 2 * compare_tasks.TEXT_BATCH * compare_tasks.CONTEXT
        assert result["peak_mb"] > 0
        weights = pf.from_pretrained(family / "run" / name)
        assert weights.num_parameters() == result["parameters"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--steps", 0], "--steps"),
        (["--seconds", 0], "--seconds"),
        (["--steps", 1, "--seconds", 1], "not allowed"),
        (["--parameters", 0], "--parameters"),
        (["--parameters", 3, "--task", "series"], "no width gives 3 parameters"),
        (["--task", "chess"], "chess"),
        (["--task", "series", "--page", "nowhere/page.md"], "nowhere"),
        (["--models", "gpt,bert", "text.txt"], "has gpt, llama, lstm, gru, retnet, kan, liquid, mlp, got bert"),
        (["--models", "gpt,,lstm"], "commas"),
        (["--seeds", 0], "--seeds"),
        (["--rates", "0.1,-1"], "--rates"),
        (["--task", "series", "text.txt"], "takes no FILE"),
        (["none.txt"], "none.txt"),
        (["short.txt"], "too short"),
        (["--resume"], "results.json"),
        (["--resume", "--out", "other"], "not the record"),
    ],
)
def test_bad_options_are_one_line(tmp_path, args, words):
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.json").write_text("{}")
    error = run(tmp_path, "compare", *args, code=2).stderr
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {"parameters": 0}}, "parameters: must be from 1"),
        ({"settings": {"parameters": "x"}}, "parameters: expected a whole number"),
        ({"settings": {"device": "tpu"}}, "device: expected 'cpu'"),
        ({"settings": {"seconds": "q"}}, "seconds: expected a number"),
        ({"settings": {"steps": None}}, "must have steps or seconds"),
        ({"settings": {"task": "chess"}}, "task must be one of"),
        ({"settings": {"models": []}}, "models must be one or more"),
        ({"settings": {"models": ["gpt", "gpt"]}}, "each once"),
        ({"settings": {"models": "gpt"}}, "list of names"),
        ({"unit": 3}, "not the record"),
        ({"results": {"bert": {}}}, "models that take no part"),
        ({"results": {"gpt": 5}}, "has an entry that is not a result"),
        ({"results": {"gpt": {"points": [[1]]}}}, "has an entry that is not a result"),
    ],
)
def test_a_hostile_record_is_named(family, tmp_path, change, words):
    record = json.loads((family / "run" / "results.json").read_text())
    record["settings"]["models"] = ["gpt"]
    record["results"] = {"gpt": record["results"]["gpt"]}
    for name, value in change.items():
        record[name] = {**record[name], **value} if name == "settings" else value
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps(record))
    (tmp_path / "text.txt").write_text(TEXT)
    error = run(tmp_path, "compare", "text.txt", "--resume", "--out", "run", "--quiet", code=2).stderr
    assert words in error
    assert "results.json" in error
    assert error.count("\n") == 1


def test_a_page_is_checked_before_training(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "page.md").write_bytes(b"\xff")
    error = run(tmp_path, "compare", "text.txt", "--steps", 2, "--out", "run", "--page", "page.md", code=2).stderr
    assert "page.md: is not UTF-8 at byte 0" in error
    (tmp_path / "page.md").write_text("<!-- compare: text-2-steps -->\n")
    error = run(tmp_path, "compare", "text.txt", "--steps", 2, "--out", "run", "--page", "page.md", code=2).stderr
    assert "without '<!-- end of text-2-steps -->'" in error
    assert not (tmp_path / "run").exists()


def test_models_that_are_no_language_models(tmp_path):
    series = tasks()["series"]
    model = series.entrants["liquid"].make(1, 8)
    model.save_pretrained(tmp_path / "liquid")
    assert "LiquidNetwork, 1 layer, " in run(tmp_path, "info", "liquid").stdout
    error = run(tmp_path, "generate", "liquid", code=2).stderr
    assert error.count("\n") == 1
    assert "holds a LiquidNetwork, which does not continue texts" in error


def test_info_opens_every_kind(tmp_path, capsys):
    from pyformer import cli, models
    from pyformer.formats.hf.decoder import DECODER_TYPES

    vocab = (23, 16, 2, 2, 16)
    saved = {
        "bert": models.BERT(models.BertConfig(*vocab)),
        "classifier": models.BertClassifier(models.BertConfig(*vocab)),
        "gpt": models.GPT(models.GPTConfig(*vocab)),
        "llama": models.Llama(models.LlamaConfig(*vocab, num_kv_heads=1)),
        "mistral": models.Llama(models.LlamaConfig(*vocab, window=4)),
        "alibi": models.Llama(models.LlamaConfig(*vocab, positions="alibi")),
        "encoder_decoder": models.EncoderDecoder(models.EncoderDecoderConfig(*vocab)),
        "kan": models.KAN(models.KANConfig((2, 5, 1))),
        "kan_transformer": models.KANTransformer(models.KANTransformerConfig(*vocab)),
        "lstm": models.LSTM(models.LSTMConfig(23, 16, 2, 16, bidirectional=True)),
        "liquid": models.Liquid(models.LiquidConfig(23, 16, 2, 16)),
        "liquid_network": models.LiquidNetwork(models.LiquidNetworkConfig(2, 4, 1)),
        "mlp": models.MLPLanguageModel(models.MLPLanguageModelConfig(23, 16, 2, 16)),
        "retnet": models.RetNet(models.RetNetConfig(*vocab)),
        "convnet": models.ConvNet(models.ConvNetConfig(widths=(4, 8))),
        "vit": models.ViT(models.ViTConfig(embed_dim=8, num_layers=1, num_heads=2)),
        "autoencoder": models.Autoencoder(models.AutoencoderConfig(widths=(4, 8))),
        "gan": models.GAN(models.GANConfig(widths=(4, 8))),
        "dit": models.DiT(models.DiTConfig(embed_dim=8, num_layers=1, num_heads=2)),
    }
    sizes = {"vocab_size": 23, "max_position_embeddings": 16, "num_hidden_layers": 2, "hidden_size": 16}
    sizes |= {"num_attention_heads": 4, "intermediate_size": 24, "head_dim": 4}
    for kind in DECODER_TYPES:
        config = models.Decoder.read_config({**sizes, "model_type": kind, "num_key_value_heads": 4})
        saved[kind] = models.Decoder(config)
    saved["modernbert"] = models.Encoder(models.EncoderConfig(*vocab))
    for kind in ("t5", "mt5"):
        saved[kind] = models.T5(models.T5Config(23, 2, 4, 16, scaled=kind == "t5", family=kind))
    kinds = set()
    for name, model in saved.items():
        model.save_pretrained(tmp_path / name)
        kinds.add(json.loads((tmp_path / name / "config.json").read_text())["model_type"])
        assert cli.main(["info", str(tmp_path / name)]) == 0
        out = capsys.readouterr().out
        assert f" {type(model).__name__}, " in out
        assert f"{model.num_parameters():,}" in out
    assert kinds == set(models._BY_TYPE)


def test_an_odd_size_is_refused_before_anything_is_written(tmp_path):
    error = run(tmp_path, "compare", "--task", "function", "--parameters", 5, "--out", "run", code=2).stderr
    assert "no width gives" in error
    assert not (tmp_path / "run").exists()
