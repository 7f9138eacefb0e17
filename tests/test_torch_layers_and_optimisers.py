"""Modules, hooks, optimisers and files by the names that torch users know."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

import pyformer as pf
from pyformer import nn, optim

OPTIMISERS = [
    ("Adagrad", {"lr": 0.1, "weight_decay": 0.3}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.3, "betas": (0.5, 0.9)}),
    ("Adafactor", {"lr": 0.1}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.3, "d": 1.5, "eps": (1e-3, 1e-2), "beta2_decay": -0.5}),
    ("RMSprop", {"lr": 0.05}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.5, "weight_decay": 0.3, "eps": 1e-3}),
]
START = np.array([[1.0, -2.0], [0.5, 3.0]])


def descend(library, optimiser, w, steps=5):
    target = library.tensor([[1.0, 0.0], [2.0, -1.0]], dtype=w.dtype)
    for _ in range(steps):
        optimiser.zero_grad()
        ((w - target) ** 2).sum().backward()
        optimiser.step()
    return w.detach()


@pytest.mark.parametrize(("name", "options"), OPTIMISERS)
def test_optimisers_are_torchs(name, options):
    ours, theirs = pf.tensor(START, requires_grad=True), torch.tensor(START, requires_grad=True)
    got = descend(pf, getattr(optim, name)([ours], **options), ours)
    expected = descend(torch, getattr(torch.optim, name)([theirs], **options), theirs)
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)


def test_lion_is_its_formula():
    w = pf.tensor(START, requires_grad=True)
    optimiser = optim.Lion([w], lr=0.1, betas=(0.6, 0.8), weight_decay=0.5)
    p, m = START.copy(), np.zeros((2, 2))
    for _ in range(6):
        optimiser.zero_grad()
        w.square().sum().backward()
        optimiser.step()
        g = 2 * p
        p = p - 0.1 * (np.sign(0.6 * m + 0.4 * g) + 0.5 * p)
        m = 0.8 * m + 0.2 * g
    np.testing.assert_allclose(w.detach().numpy(), p, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 6), (1, 7)])
def test_adafactor_of_any_shape_is_torchs(shape):
    start = np.random.default_rng(0).standard_normal(shape)
    ours, theirs = pf.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    optimiser, twin = optim.Adafactor([ours], lr=0.3), torch.optim.Adafactor([theirs], lr=0.3)
    for _ in range(4):
        for p, optimizer in ((ours, optimiser), (theirs, twin)):
            optimizer.zero_grad()
            ((p - 2.0) ** 2 * 3.0 + p).sum().backward()
            optimizer.step()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12)
    kept = {name: tuple(t.shape) for name, t in optimiser.state[ours].items() if name != "step"}
    rows, columns = (*shape[:-1], 1), (*shape[:-2], 1, *shape[-1:])
    assert kept == ({"row_var": rows, "col_var": columns} if len(shape) > 1 else {"variance": shape})
    other = optim.Adafactor([pf.zeros(*shape, requires_grad=True, dtype=pf.float64)])
    other.load_state_dict(optimiser.state_dict())
    with pytest.raises(ValueError, match="Adafactor: "):
        optim.Adafactor([pf.zeros(2, 9, 9, requires_grad=True)]).load_state_dict(optimiser.state_dict())


@pytest.mark.parametrize("name", ["Adam", "Adafactor", "Adagrad", "RMSprop", "Lion", "Muon"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_state_goes_on_the_same(name, dtype, tmp_path):
    w = pf.tensor(START).to(dtype).detach()
    w.requires_grad = True
    optimiser = getattr(optim, name)([w], lr=0.01)
    descend(pf, optimiser, w)
    pf.save({"optimiser": optimiser.state_dict(), "w": w.detach()}, tmp_path / "state")
    expected = descend(pf, optimiser, w).float().tolist()
    saved = pf.load(tmp_path / "state")
    again = saved["w"].clone().detach()
    again.requires_grad = True
    other = getattr(optim, name)([again], lr=0.01)
    other.load_state_dict(saved["optimiser"])
    assert descend(pf, other, again).float().tolist() == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.RMSprop(p, alpha=1.5), "RMSprop: alpha must be in"),
        (lambda p: optim.Adafactor(p, d=0.5), "Adafactor: d must be in"),
        (lambda p: optim.Adafactor(p, beta2_decay=0.5), "Adafactor: -beta2_decay must be in"),
        (lambda p: optim.Adafactor(p, eps=1e-3), "Adafactor: eps must be a pair"),
        (lambda p: optim.Lion(p, betas=(0.5,)), "Lion: betas must be two numbers"),
        (lambda p: optim.Adam(p, lr=-1), "Adam: lr must be in"),
    ],
)
def test_options_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make([pf.ones(2, requires_grad=True)])


def test_zero_grad_and_repr():
    w = pf.ones(2, requires_grad=True)
    optimiser = optim.AdamW([w], lr=0.5)
    optimiser.zero_grad(set_to_none=False)  # nothing there yet
    w.sum().backward()
    optimiser.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0, 0.0]
    optimiser.zero_grad()
    assert w.grad is None
    assert repr(optimiser).startswith("AdamW(lr=0.5, betas=(0.9, 0.999)")


def test_hooks():
    layer, seen = nn.Linear(2, 1), []
    first = layer.register_forward_hook(lambda module, args, result: seen.append((module, args, result)))
    layer.register_forward_hook(lambda module, args, result: result * 0)
    x = pf.ones(1, 2)
    y = layer(x)
    assert y.tolist() == [[0.0]]
    assert seen[0][0] is layer
    assert seen[0][1] == (x,)
    first.remove()
    first.remove()
    layer(x)
    assert len(seen) == 1
    with pytest.raises(TypeError, match="register_forward_hook: expected a function"):
        layer.register_forward_hook(3)


def test_apply_requires_grad_and_casts():
    model, seen = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))), []
    assert model.apply(seen.append) is model
    assert [type(m).__name__ for m in seen] == ["Linear", "Linear", "Sequential", "Sequential"]
    assert not any(p.requires_grad for p in model.requires_grad_(False).parameters())
    assert len(list(model.requires_grad_().parameters())) == 4
    assert {p.dtype for p in model.double().parameters()} == {pf.float64}
    assert {p.dtype for p in model.float().parameters()} == {pf.float32}
    assert len(model.append(nn.ReLU()).append(nn.Identity())) == 4


def test_containers():
    heads = nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.Identity()})
    heads["c"] = nn.Linear(2, 2)
    assert (list(heads), len(heads), "d" in heads) == (["a", "b", "c"], 3, False)
    assert list(heads.state_dict()) == ["a.weight", "a.bias", "c.weight", "c.bias"]
    assert [name for name, _ in heads.items()] == list(heads.keys())
    for fault, error in ((lambda: heads["d"], KeyError), (lambda: heads.__setitem__("train", nn.ReLU()), ValueError)):
        with pytest.raises(error, match="ModuleDict"):
            fault()
    with pytest.raises(TypeError, match="ModuleDict"):
        heads["d"] = 3
    scales = nn.ParameterList([nn.Parameter([1.0])]).append(nn.Parameter([2.0]))
    assert [p.item() for p in copy.deepcopy(scales)] == [1.0, 2.0]
    assert list(scales.state_dict()) == ["0", "1"]
    scales.append(nn.Parameter(pf.zeros(2, 3, dtype=pf.bfloat16)))
    first = "  (0): Parameter containing: [float32 of size 1]\n"
    last = "  (2): Parameter containing: [bfloat16 of size 2x3]\n"
    assert repr(scales) == f"ParameterList(\n{first}{first.replace('0', '1', 1)}{last})"
    named = nn.Sequential(nn.ParameterDict({"a": nn.Parameter(pf.zeros(()))}))
    assert "\n  (0): ParameterDict(\n    (a): Parameter containing: [float32 of size ()]\n  )" in repr(named)
    assert (repr(nn.ParameterList()), repr(nn.ParameterDict())) == ("ParameterList()", "ParameterDict()")
    with pytest.raises(TypeError, match="ParameterList"):
        scales.append(pf.ones(1))
    with pytest.raises(IndexError, match="ParameterList"):
        scales[3]


def test_a_module_shows_what_it_says_of_itself_before_its_children():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def extra_repr(self):
            return "factor=2"

    assert repr(Scaled()) == "Scaled(\n  factor=2\n  (inner): Identity()\n)"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.MSELoss("sum"), torch.nn.MSELoss(reduction="sum")),
        (nn.L1Loss(), torch.nn.L1Loss()),
        (nn.BCEWithLogitsLoss(), torch.nn.BCEWithLogitsLoss()),
        (nn.Softmax(dim=0), torch.nn.Softmax(dim=0)),
        (nn.Flatten(0), torch.nn.Flatten(0)),
        (nn.LeakyReLU(0.2), torch.nn.LeakyReLU(0.2)),
        (nn.Softplus(), torch.nn.Softplus()),
        (nn.Identity(), torch.nn.Identity()),
    ],
    ids=lambda m: type(m).__name__,
)
def test_modules_are_torchs(ours, theirs):
    x = np.random.default_rng(0).random((3, 4))
    arguments = (x, x[::-1].copy()) if "Loss" in type(ours).__name__ else (x,)
    got, expected = ours(*map(pf.tensor, arguments)), theirs(*map(torch.tensor, arguments))
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)


def test_cross_entropy_with_class_weights():
    x, targets, weight = np.random.default_rng(0).random((3, 4)), np.array([0, 3, -100]), np.array([1.0, 2.0, 3.0, 0.5])
    expected = torch.nn.CrossEntropyLoss(torch.tensor(weight))(torch.tensor(x), torch.tensor(targets))
    loss = nn.CrossEntropyLoss(pf.tensor(weight))
    assert loss(pf.tensor(x), targets).item() == pytest.approx(expected.item(), rel=1e-12)
    assert list(loss.state_dict()) == ["weight"]


def test_save_and_load(tmp_path):
    value = {"a": [pf.ones(2, dtype="bfloat16"), {"b": pf.arange(3)}], "text": "x", "none": None, "number": 0.5}
    pf.save(value, tmp_path / "f")
    again = pf.load(tmp_path / "f")
    assert again["a"][0].dtype == pf.bfloat16
    assert again["a"][1]["b"].tolist() == [0, 1, 2]
    assert [again[k] for k in ("text", "none", "number")] == ["x", None, 0.5]
    with pytest.raises(TypeError, match=r"save: .*state_dict"):
        pf.save(nn.Linear(2, 2), tmp_path / "g")
    for lost in ({1: 2, "1": 3}, [{True: 1, "True": 2}], {"a": {"$tensor": "t0"}, "b": pf.ones(1)}):
        with pytest.raises(
            ValueError, match=r"save: (keys that are the same as text: (1, '1'|True)|a key must not be)"
        ):
            pf.save(lost, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    data = bytearray((tmp_path / "f").read_bytes())
    data[-1] ^= 1
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        pf.load(tmp_path / "f")


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5)])
def test_batch_norm_of_vectors_and_series(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    ours, theirs = nn.BatchNorm1d(3, dtype="float64"), torch.nn.BatchNorm1d(3, dtype=torch.float64)
    for _ in range(2):
        got, expected = ours(pf.tensor(x)), theirs(torch.tensor(x))
        np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-10)
        ours.eval(), theirs.eval()
    with pytest.raises(ValueError, match="BatchNorm1d: x must be"):
        ours(pf.zeros(1, 3, 2, 2, dtype="float64"))


def test_a_padding_row_stays_zero():
    table, ids = nn.Embedding(4, 3, padding_idx=-4), pf.tensor([[0, 1, 0, 2]])
    assert table.weight[0].tolist() == [0.0] * 3
    optimiser = optim.SGD(table.parameters(), lr=1.0)
    (table(ids) + 1.0).square().sum().backward()
    assert table.weight.grad[0].tolist() == [0.0] * 3
    assert table.weight.grad[1].abs().sum().item() > 0
    optimiser.step()
    assert table.weight[0].tolist() == [0.0] * 3
    with pytest.raises(ValueError, match="padding_idx 4 is out of range"):
        nn.Embedding(4, 3, padding_idx=4)


def test_layer_norm_takes_a_shape_of_one_axis():
    assert nn.LayerNorm((4,)).weight.shape == nn.LayerNorm([4]).weight.shape == (4,)
    with pytest.raises(TypeError, match="LayerNorm: dim must be an int"):
        nn.LayerNorm((3, 4.0))
    with pytest.raises(ValueError, match="extent of an axis or more"):
        nn.LayerNorm(())


def newton_schulz(x, steps):
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x


@pytest.mark.parametrize(("shape", "nesterov"), [((2, 5), True), ((5, 2), True), ((3, 3), False)])
def test_muon_is_its_formula_and_near_torchs(shape, nesterov):
    start = np.random.default_rng(0).standard_normal(shape)
    w, v = pf.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    options = {"lr": 0.1, "weight_decay": 0.5, "momentum": 0.8, "nesterov": nesterov}
    ours, theirs = optim.Muon([w], **options), torch.optim.Muon([v], **options)
    p, m = start.copy(), np.zeros(shape)
    for _ in range(4):
        for optimiser, x in ((ours, w), (theirs, v)):
            optimiser.zero_grad()
            (x * x).sum().backward()
            optimiser.step()
        m = 0.8 * m + 0.2 * 2 * p
        step = newton_schulz(0.8 * m + 0.2 * 2 * p if nesterov else m, 5)
        step = step.T if shape[0] > shape[1] else step
        p = p * (1 - 0.1 * 0.5) - 0.1 * max(1.0, shape[0] / shape[1]) ** 0.5 * step
    np.testing.assert_allclose(w.detach().numpy(), p, rtol=1e-11)
    # torch's products are bfloat16, with 8 bits.
    np.testing.assert_allclose(w.detach().numpy(), v.detach().numpy(), atol=0.01)


def test_muon_takes_matrices_only():
    with pytest.raises(ValueError, match=r"matrices, got a parameter of shape \(3,\)"):
        optim.Muon([pf.zeros(3, requires_grad=True)])
    for options, message in (({"ns_steps": 0}, "from 1"), ({"nesterov": 1}, "bool"), ({"momentum": 1.0}, "momentum")):
        with pytest.raises((ValueError, TypeError), match=message):
            optim.Muon([pf.zeros(2, 2, requires_grad=True)], **options)


SCHEDULERS = [
    ("LambdaLR", {"lr_lambda": lambda n: 1.0 / (n + 1)}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [5, 2, 2], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LinearLR", {"start_factor": 0.25, "end_factor": 0.75, "total_iters": 4}),
    ("CosineAnnealingLR", {"T_max": 6, "eta_min": 0.01}),
]


@pytest.mark.parametrize(("name", "options"), SCHEDULERS)
def test_schedulers_are_torchs(name, options):
    rates = []
    for library in (pf, torch):
        groups = [{"params": [library.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.5, 0.1)]
        optimiser = library.optim.SGD(groups, lr=1.0)
        scheduler = getattr(library.optim.lr_scheduler, name)(optimiser, **options)
        rates.append([])
        for _ in range(9):
            rates[-1] += scheduler.get_last_lr()
            optimiser.step()
            scheduler.step()
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-12)


def test_milestones_may_come_from_a_generator():
    optimiser = optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
    assert optim.lr_scheduler.MultiStepLR(optimiser, (n for n in (5, 2))).milestones == [2, 5]


def test_a_scheduler_goes_on_from_its_state():
    def make():
        optimiser = optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
        return optim.lr_scheduler.ExponentialLR(optimiser, 0.5)

    first, second = make(), make()
    first.step()
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr() == [0.5]
    with pytest.raises(ValueError, match="last_epoch"):
        second.load_state_dict({"last_epoch": -1})
    with pytest.raises(TypeError, match="expected an optimiser"):
        optim.lr_scheduler.StepLR(None, 1)


@pytest.mark.parametrize("value", [0.5, 3, float("inf")])
def test_clip_grad_value_is_torchs(value):
    gradient = np.array([-4.0, -0.5, np.nan, 0.25, np.inf])
    found = []
    for library in (pf, torch):
        w = library.tensor(np.zeros(5), requires_grad=True)
        w.grad = library.tensor(gradient)
        library.nn.utils.clip_grad_value_([w, library.ones(1, requires_grad=True)], value)
        found.append(w.grad.numpy())
    np.testing.assert_array_equal(*found)
    with pytest.raises(ValueError, match="clip_value must be above 0"):
        optim.clip_grad_value_([], 0)


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_over_several_axes_is_torchs(bias):
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    ours, theirs = nn.LayerNorm((3, 4), bias=bias), torch.nn.LayerNorm((3, 4), bias=bias)
    weights = {k: np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32) for k in ours.state_dict()}
    ours.load_state_dict(weights)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    a, b = pf.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out, expected = ours(a), theirs(b)
    (out * out).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=1e-5)
    assert ours.weight.grad.shape == (3, 4)
    assert repr(ours).startswith("LayerNorm((3, 4)")
    with pytest.raises(ValueError, match=r"last axes \(3, 4\), got \(4, 3\)"):
        ours(pf.zeros(4, 3))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("StepLR", {"step_size": 0}, ValueError, "step_size must be at least 1 and finite, got 0"),
        ("StepLR", {"step_size": -3}, ValueError, "step_size must be at least 1"),
        ("StepLR", {"step_size": 2.5}, TypeError, "step_size must be an int, got float"),
        ("StepLR", {"step_size": True}, TypeError, "step_size must be an int, got bool"),
        ("StepLR", {"step_size": 2, "gamma": math.nan}, ValueError, "gamma must be at least 0 and finite, got nan"),
        ("MultiStepLR", {"milestones": [-1]}, ValueError, "milestones must be at least 0"),
        ("MultiStepLR", {"milestones": [math.nan]}, ValueError, "milestones must be at least 0"),
        ("MultiStepLR", {"milestones": [1], "gamma": -0.5}, ValueError, "gamma must be at least 0"),
        ("ExponentialLR", {"gamma": math.inf}, ValueError, "gamma must be at least 0 and finite, got inf"),
        ("ExponentialLR", {"gamma": "1"}, TypeError, "gamma must be a number, got str"),
        ("LinearLR", {"total_iters": 0}, ValueError, "total_iters must be at least 1"),
        ("LinearLR", {"total_iters": -1}, ValueError, "total_iters must be at least 1"),
        ("LinearLR", {"start_factor": math.nan}, ValueError, "start_factor must be at least 0"),
        ("LinearLR", {"end_factor": -1.0}, ValueError, "end_factor must be at least 0"),
        ("CosineAnnealingLR", {"T_max": math.nan}, ValueError, "T_max must be at least 1"),
        ("CosineAnnealingLR", {"T_max": 0}, ValueError, "T_max must be at least 1"),
        ("CosineAnnealingLR", {"T_max": -1}, ValueError, "T_max must be at least 1"),
        ("CosineAnnealingLR", {"T_max": 5, "eta_min": math.nan}, ValueError, "eta_min must be at least 0"),
        ("LambdaLR", {"lr_lambda": 0.5}, TypeError, "lr_lambda must be a function, got float"),
        ("LambdaLR", {"lr_lambda": lambda n: None}, TypeError, "lr_lambda must give a number, got NoneType"),
        ("MultiStepLR", {"milestones": 5}, TypeError, "milestones must be a list of ints, got int"),
        ("LambdaLR", {"lr_lambda": lambda n: math.nan}, ValueError, "factor must be a number from 0, got nan"),
    ],
)
def test_schedulers_refuse_what_gives_no_rate(name, options, error, message):
    optimiser = optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(error, match=message):
        getattr(optim.lr_scheduler, name)(optimiser, **options)
    assert optimiser.param_groups[0]["lr"] == 1.0


def test_a_scheduler_whose_factor_overflows_stays_where_it_is():
    optimiser = optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = optim.lr_scheduler.StepLR(optimiser, 1, gamma=1e200)
    scheduler.step()
    with pytest.raises(ValueError, match="factor must be a number from 0, got inf"):
        scheduler.step()
    assert (scheduler.last_epoch, scheduler.get_last_lr()) == (1, [1e200])


def test_schedulers_take_numpys_integers():
    optimiser = optim.SGD([pf.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimiser, np.int64(2))
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5]


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 1e20, 3e38])
def test_muons_step_does_not_depend_on_the_size_of_gradients(size):
    gradient = np.array([[1.0, 0.5, -0.25], [0.125, -1.0, 0.5]])
    steps = []
    for factor in (1.0, size):
        w = pf.zeros(2, 3, requires_grad=True)
        w.grad = pf.tensor(gradient * factor, dtype="float32")
        optim.Muon([w], lr=0.5, weight_decay=0.0).step()
        steps.append(w.detach().numpy())
    np.testing.assert_allclose(*steps, rtol=0, atol=1e-4)
    assert np.linalg.norm(steps[1], 2) > 0.25
    w.grad = pf.zeros(2, 3)
    optim.Muon([w], lr=0.5, weight_decay=0.0).step()
    np.testing.assert_array_equal(w.detach().numpy(), steps[1])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Lion", "Muon"])
def test_zero_gradients_leave_parameters_and_without_eps_they_are_torchs(name):
    """With eps 0 the step is 0 / 0 where it divides, NaN there as here."""
    start = np.array([[1.0, -2.0, 3.0], [4.0, 0.0, 5.0]], np.float32)
    gradient = np.array([[0.0, 0.5, 0.0], [-0.0, 1.0, 0.25]], np.float32)
    divides = name in ("Adam", "AdamW", "RMSprop", "Adagrad")
    for options in ({}, {"eps": 0.0}) if divides else ({},):
        w = pf.tensor(start, requires_grad=True)
        ours = getattr(optim, name)([w], lr=0.5, weight_decay=0.0, **options)
        for step in (0.0, 1.0):
            w.grad = pf.tensor(gradient * step)
            ours.step()
            if not step and not options:
                np.testing.assert_array_equal(w.detach().numpy(), start)
        assert np.isnan(w.detach().numpy()).any() == bool(options)
        if divides:
            theirs_w = torch.nn.Parameter(torch.tensor(start))
            theirs = getattr(torch.optim, name)([theirs_w], lr=0.5, weight_decay=0.0, **options)
            for step in (0.0, 1.0):
                theirs_w.grad = torch.tensor(gradient * step)
                theirs.step()
            np.testing.assert_allclose(w.detach().numpy(), theirs_w.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_adagrad_goes_on_after_gradients_whose_squares_are_infinite():
    w = pf.tensor([0.0, 0.0, 0.0], requires_grad=True)
    optimizer = optim.Adagrad([w], lr=1.0)
    for _ in range(9):
        w.grad = pf.tensor([1e30, -1e18, 1.0])
        optimizer.step()
        assert np.isfinite(optimizer.state[w]["sum"].numpy()).all()
    wanted = -sum((step + 1) ** -0.5 for step in range(9))
    np.testing.assert_allclose(w.detach().numpy()[1:], [-wanted, wanted], rtol=1e-5)
    assert -9.0 < w[0].item() < wanted * 0.9
    w.grad = pf.tensor([np.inf, np.nan, 1.0])
    optimizer.step()
    assert np.isnan(w.detach().numpy()).tolist() == [True, True, False]


@pytest.mark.parametrize("make", [pf.optim.AdamW, pf.optim.Adam])
def test_torchs_options_of_adam_are_taken_or_refused(make):
    values = []
    for options in ({}, {"fused": True, "foreach": False, "amsgrad": False, "maximize": False}):
        w = pf.tensor([1.0, -2.0], requires_grad=True)
        (w * w).sum().backward()
        make([w], lr=0.1, **options).step()
        values.append(w.tolist())
    assert values[0] == values[1]
    for name, why in (("amsgrad", "two moments, and has no third"), ("maximize", "negate the loss")):
        with pytest.raises(ValueError, match=f"{make.__name__}: expected {name}=False, got True: .*{why}"):
            make([w], **{name: True})


def test_gaussian_nll_loss_of_variances_at_both_ends():
    zero = pf.zeros(4)
    var = pf.tensor([-1e10, 1e-20, 2.0, float("inf")], requires_grad=True)
    losses = pf.ops.gaussian_nll_loss(zero, zero, var, reduction="none")
    expected = [0.5 * np.log(1e-6), 0.5 * np.log(1e-6), 0.5 * np.log(2.0), np.inf]
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-6)
    losses.backward(pf.ones(4))
    np.testing.assert_allclose(var.grad.numpy(), [0.5e6, 0.5e6, 0.25, 0.0], rtol=1e-6)
