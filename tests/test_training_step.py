"""The gradient of a step: numbered micro-batches, one tree, any number of processes, the same bits."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from tolerance import Exact, assert_close, same_bits

import pyformer as pf
from pyformer import _core, ops, optim
from pyformer.models import (
    GPT,
    Autoencoder,
    AutoencoderConfig,
    BertClassifier,
    BertConfig,
    ConvNet,
    ConvNetConfig,
    EncoderDecoder,
    EncoderDecoderConfig,
    GPTConfig,
)
from pyformer.training import TaskTrainer, Trainer, TrainingOptions
from pyformer.training.step import MicroBatches, TreeSum, apply_sum, count_targets, form_gradients

CONTEXT = 8
TOKENS = np.frombuffer(b"the quick brown fox jumps over the lazy dog. " * 12, np.uint8).astype(np.int32)


def options_of(**given):
    return TrainingOptions(
        **{"steps": 3, "batch": 2, "warmup": 1, "seed": 5, "eval_batches": 1, "sample_every": 0, **given}
    )


def gpt_trainer(accumulate, dropout=0.2, cls=Trainer, **given):
    pf.manual_seed(1)
    model = GPT(GPTConfig(256, CONTEXT, 2, 2, 16, dropout=dropout))
    return cls(model, TOKENS[:400], TOKENS[400:], options_of(accumulate=accumulate, **given))


def pictures(number, rows=4):
    rng = np.random.default_rng(number)
    return rng.standard_normal((rows, 1, 28, 28), dtype=np.float32) * (1 + number), rng.integers(0, 10, rows)


def convnet_trainer(accumulate, cls=TaskTrainer):
    pf.manual_seed(1)
    model = ConvNet(ConvNetConfig(widths=(4,)))
    return cls(model, pictures, [pictures(99)], options_of(accumulate=accumulate))


def state_of(trainer):
    return {name: tensor.numpy().copy() for name, tensor in trainer.model.state_dict().items()}


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert same_bits(one[name], two[name]), name


def added(terms, first, level, count):
    """The sum of terms first, first + 1, ... as the tree defines it."""
    if level == 0:
        return terms[first]
    left, middle = added(terms, first, level - 1, count), first + (1 << (level - 1))
    return left if middle >= count else left + added(terms, middle, level - 1, count)


@pytest.mark.parametrize("count", range(1, 18))
def test_a_tree_adds_in_its_own_order_whatever_comes_first(count):
    rng = np.random.default_rng(count)
    terms = (rng.standard_normal((count, 64)) * 10.0 ** rng.integers(-3, 4, (count, 1))).astype(np.float32)
    wanted = added(terms, 0, (count - 1).bit_length(), count)
    in_order = list(range(count))
    for order in (in_order, in_order[::-1], rng.permutation(count).tolist()):
        tree, most = TreeSum(count), 0
        for number in order:
            tree.add(number, [pf.tensor(terms[number]), None])
            most = max(most, len(tree.nodes))
        total, nothing = tree.total()
        assert nothing is None
        assert same_bits(total.numpy(), wanted)
        if order is in_order:
            assert most <= max(1, (count - 1).bit_length())


def test_a_tree_with_a_hole_has_no_total():
    tree = TreeSum(3)
    tree.add(0, [pf.ones(1)])
    tree.add(2, [pf.ones(1)])
    with pytest.raises(ValueError, match=r"TreeSum: expected the lists 0 to 2, got nodes \[\(0, 0\), \(1, 1\)\]"):
        tree.total()


def contiguous(count, ranks):
    return [range(count * rank // ranks, count * (rank + 1) // ranks) for rank in range(ranks)]


def strided(count, ranks):
    return [range(rank, count, ranks) for rank in range(ranks)]


def emulate_ranks(make, parts):
    """Trains one trainer a rank, each in a thread; they exchange the nodes of their trees. Returns the trainers."""
    trainers, barrier = [make() for _ in parts], threading.Barrier(len(parts))
    offered, failures = [None] * len(parts), []

    def exchanging(rank):
        def reduce_gradients(tree):
            offered[rank] = tree.nodes
            barrier.wait()
            joined = TreeSum(tree.count)
            for (level, index), terms in itertools.chain(*(nodes.items() for nodes in offered)):
                joined.add_node(level, index, [None if t is None else pf.tensor(t) for t in terms])
            barrier.wait()
            return joined.total()

        return reduce_gradients

    def train(trainer):
        try:
            assert trainer.train()
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    for rank, (trainer, part) in enumerate(zip(trainers, parts, strict=True)):
        trainer.own_micro_batches = lambda part=part: part
        trainer.reduce_gradients = exchanging(rank)
    threads = [threading.Thread(target=train, args=(trainer,)) for trainer in trainers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return trainers


@pytest.mark.parametrize("cut", [contiguous, strided])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize(("make", "accumulate"), [(gpt_trainer, 4), (gpt_trainer, 7), (convnet_trainer, 5)])
def test_any_number_of_ranks_gives_the_same_bits(make, accumulate, ranks, cut):
    alone = make(accumulate)
    assert alone.train()
    wanted = state_of(alone)
    for trainer in emulate_ranks(lambda: make(accumulate), cut(accumulate, ranks)):
        assert_same(state_of(trainer), wanted)
        assert trainer._recent == alone._recent
        assert trainer.validation_loss == alone.validation_loss


def test_more_ranks_than_micro_batches():
    alone = gpt_trainer(1)
    assert alone.train()
    for trainer in emulate_ranks(lambda: gpt_trainer(1), [range(0, 0), range(1)]):
        assert_same(state_of(trainer), state_of(alone))


def test_one_micro_batch_without_dropout_is_the_plain_loop():
    trainer, plain = gpt_trainer(1, dropout=0.0), gpt_trainer(1, dropout=0.0)
    assert trainer.train()
    for step in range(3):
        plain.step = step
        plain.model.loss(*plain._micro_batch(0)).backward()
        optim.clip_grad_norm_(plain.model.parameters(), plain.options.clip)
        plain.optimizer.scale_lr(plain.schedule(step))
        plain.optimizer.step()
        plain.optimizer.zero_grad()
    assert_same(state_of(trainer), state_of(plain))


def test_micro_batches_add_up_to_one_large_batch():
    """Four micro-batches of two rows see the rows of one batch of eight, and their sum is its gradient."""
    losses, gradients = [], []
    for batch, accumulate in ((8, 1), (2, 4)):
        trainer = gpt_trainer(accumulate, dropout=0.0, batch=batch, steps=1)
        trainer.model.to(pf.float64)
        gradients.append(gradients_of_a_step(trainer))
        losses.append(trainer._recent[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    for one, two in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-13)


def gradients_of_a_step(trainer):
    """The gradients that reach the seam after which they are clipped."""
    seen, reduce_gradients = [], trainer.reduce_gradients

    def look(tree):
        total = reduce_gradients(tree)
        seen[:] = [t.numpy().copy() for t in total[: len(list(trainer.model.parameters()))] if t is not None]
        return total

    trainer.reduce_gradients = look
    trainer._recent.append(trainer._train_step())
    return seen


def ragged(number):
    """Rows with 8, 1 or 5 counted targets, the others ignored."""
    rng = np.random.default_rng(number)
    ids, targets = rng.integers(0, 256, (2, 2, CONTEXT))
    targets[:, (8, 1, 5)[number % 3] :] = -100
    return ids, targets


def test_every_counted_target_weighs_the_same():
    def trainer(accumulate, batch_of):
        pf.manual_seed(1)
        model = GPT(GPTConfig(256, CONTEXT, 2, 2, 16)).to(pf.float64)
        return TaskTrainer(model, batch_of, [ragged(9)], options_of(accumulate=accumulate))

    def joined(number):
        return tuple(np.concatenate(arrays) for arrays in zip(*(ragged(i) for i in range(3)), strict=True))

    apart, together = trainer(3, ragged), trainer(1, joined)
    one, two = gradients_of_a_step(apart), gradients_of_a_step(together)
    assert apart._recent[0] == pytest.approx(together._recent[0], rel=1e-12)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_validation_weighs_counted_targets():
    pf.manual_seed(1)
    model = GPT(GPTConfig(256, CONTEXT, 1, 2, 16)).to(pf.float64)
    trainer = TaskTrainer(model, ragged, [ragged(0), ragged(1), ragged(2)], options_of())
    whole = [np.concatenate(arrays) for arrays in zip(*(ragged(i) for i in range(3)), strict=True)]
    assert trainer.evaluate() == pytest.approx(model.eval().loss(*whole).item(), rel=1e-12)


def test_a_step_that_counts_nothing_moves_by_weight_decay_alone():
    ids, targets = ragged(0)
    pf.manual_seed(1)
    model = GPT(GPTConfig(256, CONTEXT, 1, 2, 16))
    trainer = TaskTrainer(
        model, lambda number: (ids, np.full_like(targets, -100)), [(ids, targets)], options_of(accumulate=2)
    )
    assert all((gradient == 0).all() for gradient in gradients_of_a_step(trainer))
    assert trainer._recent == [0.0]


def test_targets_are_counted():
    floats, ids = np.zeros((3, 4), np.float32), np.array([[1, -100], [2, 3]])
    model = GPT(GPTConfig(8, 4, 1, 1, 4))
    assert count_targets(None, (floats, floats)) == 12
    assert count_targets(None, (floats,)) == 12
    assert count_targets(None, (ids, ids)) == 3
    assert count_targets(model, (ids, ids)) == 3
    assert count_targets(model, (ids, ids, [2, 1])) == 2
    translator = EncoderDecoder(EncoderDecoderConfig(8, 4, 1, 1, 4, bos_id=6, eos_id=7))
    assert count_targets(translator, (ids, floats.astype(int))) == 9
    assert count_targets(translator, (ids, floats.astype(int), None, [4, 2, 1])) == 4


def test_counted_targets_are_those_of_the_loss():
    """The mean over all rows of a batch is that of its rows, each weighed by what it counts."""
    rng = np.random.default_rng(0)
    ids, target = rng.integers(0, 6, (3, 4)), rng.integers(0, 6, (3, 4))
    pf.manual_seed(0)
    translator = EncoderDecoder(EncoderDecoderConfig(8, 4, 1, 1, 4, bos_id=6, eos_id=7)).to(pf.float64)
    gpt = GPT(GPTConfig(8, 4, 1, 1, 4)).to(pf.float64)
    cases = (translator, (ids, target, [4, 1, 3], [4, 2, 3])), (gpt, (ids, target, [4, 1, 3]))
    for model, batch in cases:
        rows = [[np.asarray(array)[i : i + 1] for array in batch] for i in range(3)]
        counts = [count_targets(model, row) for row in rows]
        losses = [model.eval().loss(*row).item() for row in rows]
        assert sum(counts) == count_targets(model, batch)
        assert model.loss(*batch).item() == pytest.approx(np.average(losses, weights=counts), rel=1e-12)


def test_a_task_accumulates_micro_batches_of_the_run():
    asked = []

    def batch_of(number):
        asked.append(number)
        rng = np.random.default_rng(number)
        return rng.integers(0, 9, (4, 5)), rng.integers(0, 2, 4)

    pf.manual_seed(0)
    model = BertClassifier(BertConfig(9, 5, 1, 2, 8, dropout=0.1))
    trainer = TaskTrainer(model, batch_of, [batch_of(99)], options_of(accumulate=3))
    asked.clear()
    assert trainer.train()
    assert set(asked) == set(range(9))
    assert trainer.tokens_per_step == 3 * 20


def test_running_statistics_move_by_the_mean_of_the_micro_batches():
    trainer = convnet_trainer(2)
    trainer.model.train()
    names = [name for name, _ in trainer.model.named_buffers()]
    start, moves = state_of(trainer), []
    for number in range(2):
        fresh = convnet_trainer(2)
        fresh.model.train().loss(*pictures(number))
        moves.append({name: state_of(fresh)[name].astype(np.float64) - start[name] for name in names})
    trainer._train_step()
    for name, value in state_of(trainer).items():
        if name in names:
            np.testing.assert_allclose(value, start[name] + (moves[0][name] + moves[1][name]) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_running_statistics_of_16_bits_move_so_in_any_order(dtype):
    def batch(number):
        images, labels = pictures(number)
        return pf.tensor(images).to(dtype), labels

    def buffers_of(model):
        return [buffer.to("float32").numpy().copy() for _, buffer in model.named_buffers()]

    def fresh():
        pf.manual_seed(1)
        return ConvNet(ConvNetConfig(widths=(4,))).to(dtype).train()

    start, moves, results = buffers_of(fresh()), [], []
    for number in range(3):
        model = fresh()
        model.loss(*batch(number))
        moves.append([now - then for now, then in zip(buffers_of(model), start, strict=True)])
    for order in ([0, 1, 2], [2, 0, 1]):
        model = fresh()
        micro_batches = MicroBatches(1, 0, [4, 4, 4], order, lambda number, model=model: model.loss(*batch(number)))
        apply_sum(model, form_gradients(model, micro_batches).total())
        results.append(buffers_of(model))
    for then, each, one, two in zip(start, zip(*moves, strict=True), *results, strict=True):
        assert same_bits(one, two)
        exact = Exact(then + np.mean(each, axis=0, dtype=np.float64), np.abs(each).sum(axis=0))
        assert_close(one, exact, additions=3, dtype=dtype)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_of_pictures_alone_is_trained_on(accumulate):
    pf.manual_seed(0)
    model = Autoencoder(AutoencoderConfig(image_size=8, code_dim=4, widths=(4,)))
    x = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    trainer = TaskTrainer(model, lambda number: (x,), [(x,)], options_of(accumulate=accumulate, lr=0.01))
    before = trainer.evaluate()
    assert trainer.train()
    assert trainer.evaluate() < before


def test_every_micro_batch_of_every_step_draws_its_own_numbers():
    losses = {}
    for seed in (0, 1):
        pf.manual_seed(1)
        model = GPT(GPTConfig(256, CONTEXT, 1, 2, 16, dropout=0.5))
        options = options_of(accumulate=3, seed=seed, lr=1e-30)
        trainer = TaskTrainer(model, lambda number: ragged(0), [ragged(0)], options)
        loss = trainer.loss

        def noted(*batch, key=(seed, trainer), loss=loss):
            value = loss(*batch)
            losses.setdefault((key[0], key[1].step), []).append(value.item())
            return value

        trainer.loss = noted
        assert trainer.train()
    assert len(losses) == 6
    assert len({value for values in losses.values() for value in values}) == 18


def test_gradients_left_from_before_do_not_count():
    clean, used = gpt_trainer(2), gpt_trainer(2)
    used.model.loss(*used._micro_batch(0)).backward()
    for trainer in (clean, used):
        trainer._train_step()
    assert_same(state_of(clean), state_of(used))


def draws(*key):
    return _core.micro_batch_streams(*key, lambda: [pf.rand(4).numpy().tolist() for _ in range(3)])


def test_streams_depend_on_seed_step_and_micro_batch_alone():
    first = draws(7, 3, 1)
    pf.manual_seed(99)
    pf.rand(5)
    state = _core.rng_state()
    assert draws(7, 3, 1) == first
    assert _core.rng_state() == state
    keys = list(itertools.product((0, 1, 7), range(4), range(4)))
    numbers = {tuple(itertools.chain(*draws(*key))) for key in keys}
    assert len(numbers) == len(keys)
    assert len({tuple(row) for row in first}) == 3


def test_streams_of_a_micro_batch_end_with_it():
    pf.manual_seed(3)
    before = pf.rand(4).numpy().tolist()

    def fail():
        raise LookupError

    with pytest.raises(LookupError):
        _core.micro_batch_streams(1, 2, 3, fail)
    pf.manual_seed(3)
    assert pf.rand(4).numpy().tolist() == before


def test_streams_of_a_micro_batch_are_those_of_its_thread():
    seen, inside, outside = [], threading.Event(), threading.Event()

    def wait():
        inside.set()
        outside.wait(60)
        return draw()

    def draw():
        return pf.rand(4).numpy().tolist()

    thread = threading.Thread(target=lambda: seen.append(_core.micro_batch_streams(1, 2, 3, wait)))
    thread.start()
    inside.wait(60)
    pf.manual_seed(3)
    first = draw()
    pf.manual_seed(3)
    assert draw() == first
    outside.set()
    thread.join()
    assert seen == [_core.micro_batch_streams(1, 2, 3, draw)]


def test_recomputation_replays_the_streams_of_a_micro_batch():
    def gradient(run):
        x = pf.ones(200, requires_grad=True)

        def forward_and_backward():
            ops.dropout(run(lambda h: ops.dropout(h, 0.5) * 2.0, x), 0.5).sum().backward()

        _core.micro_batch_streams(1, 2, 3, forward_and_backward)
        return x.grad.numpy()

    assert same_bits(gradient(pf.checkpoint), gradient(lambda f, h: f(h)))
