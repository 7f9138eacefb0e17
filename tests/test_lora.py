"""LoRA: nothing changes at first, only A and B learn, and files and logits are those of `peft`."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import real_data
import torch

import pyformer as pf
from pyformer import datasets, formats, lora
from pyformer.models import GPT, BertClassifier, BertConfig, GPTConfig, Llama, LlamaConfig

IDS = np.arange(24).reshape(2, 12) % 10


def make(**changes) -> Llama:
    pf.manual_seed(5)
    sizes = {"num_layers": 2, "num_heads": 4, "embed_dim": 32, "num_kv_heads": 2, **changes}
    return Llama(LlamaConfig(10, 16, **sizes)).eval()


def learned(model, **options) -> lora.Adapter:
    """An adapter that adds something."""
    adapter = lora.add(model, **{"rank": 3, "alpha": 6, **options})
    for layer in adapter.layers.values():
        pf.nn.init.normal_(layer.lora_B.weight, std=0.2)
    return adapter


def test_at_first_nothing_changes_and_only_the_adapter_learns():
    model = make()
    before, state = model(IDS), {n: t.numpy().copy() for n, t in model.state_dict().items()}
    adapter = lora.add(model, rank=2, dropout=0.5)
    assert (model(IDS) == before).numpy().all()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == len(adapter.parameters()) == 8
    optimizer = pf.optim.AdamW(adapter.parameters(), lr=0.05)
    first = model.loss(IDS, IDS).item()
    model.train()
    for _ in range(30):
        optimizer.zero_grad()
        model.loss(IDS, IDS).backward()
        optimizer.step()
    assert model.eval().loss(IDS, IDS).item() < first - 0.2
    after = model.state_dict()
    assert all((after[name].numpy() == value).all() for name, value in state.items())


def test_merging_adds_what_was_learned_and_leaves_a_plain_model(tmp_path):
    model, plain = make(), make()
    adapter = learned(model, targets=("q_proj", "v_proj", "gate_proj", "down_proj"))
    wanted = model(IDS)
    place = adapter.layers["layers.1.mlp.down_proj"]
    with pytest.raises(ValueError, match=r"pf\.lora\.save or pf\.lora\.merge"):
        model.save_pretrained(tmp_path)
    assert lora.merge(model) is model
    np.testing.assert_allclose(model(IDS).numpy(), wanted.numpy(), rtol=0, atol=2e-6)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert all(p.requires_grad for p in model.parameters())
    delta = 2.0 * place.lora_B.weight.detach().numpy() @ place.lora_A.weight.detach().numpy()
    got = (model.layers[1].mlp.down_proj.weight - plain.layers[1].mlp.down_proj.weight).detach().numpy()
    np.testing.assert_allclose(got, delta, rtol=0, atol=1e-6)
    model.save_pretrained(tmp_path)
    assert (pf.from_pretrained(tmp_path)(IDS) == model(IDS)).numpy().all()


def test_generation_and_batches_give_the_logits_of_a_call():
    model = make()
    learned(model)
    text = model.generate([[1, 2, 3]], 6, temperature=0).tolist()[0]
    for i in range(3, 9):
        assert model([text[:i]]).numpy()[0, -1].argmax() == text[i]


def test_modes_stay_what_they_are():
    model = make()
    model.train()
    model.layers[0].eval()
    adapter = pf.lora.add(model, rank=2, dropout=0.5)
    for merge in (False, True):
        if merge:
            pf.lora.merge(model)
        assert not any(module.training for module in model.layers[0].modules())
        assert all(module.training for module in model.layers[1].modules())
    assert adapter.layers


def test_bfloat16_weights_learn_through_float32_adapters():
    model = make().to("bfloat16")
    adapter = learned(model)
    assert all(p.dtype == pf.float32 for p in adapter.parameters())
    model.loss(IDS, IDS).backward()
    assert all(np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any() for p in adapter.parameters())
    wanted = model(IDS).numpy()
    lora.merge(model)
    assert model.embed_tokens.dtype == pf.bfloat16
    np.testing.assert_allclose(model(IDS).numpy(), wanted, rtol=0, atol=0.03)


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("q_proj", "k_proj", "o_proj", "up_proj")])
def test_files_go_out_and_come_back(tmp_path, targets):
    model = make()
    adapter = learned(model, targets=targets, dropout=0.25)
    adapter.save(tmp_path)
    again = make()
    opened = lora.load(again, tmp_path)
    said = {"r": 3, "lora_alpha": 6, "lora_dropout": 0.25, "target_modules": sorted(targets)}
    assert opened.settings == adapter.settings == said
    assert (again(IDS) == model(IDS)).numpy().all()
    assert sum(p.requires_grad for p in again.parameters()) == 2 * 2 * len(targets)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == sorted(targets)


def theirs(folder):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def logits(model) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(IDS)).logits.numpy()


def test_peft_opens_what_is_saved_here(tmp_path):
    peft = pytest.importorskip("peft", reason="the peft package, the oracle, is not installed")
    model = make()
    model.save_pretrained(tmp_path / "base")
    learned(model, targets=("q_proj", "v_proj", "down_proj")).save(tmp_path / "adapter")
    wrapped = peft.PeftModel.from_pretrained(theirs(tmp_path / "base"), tmp_path / "adapter").eval()
    np.testing.assert_allclose(logits(wrapped), model(IDS).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rslora", [False, True])
def test_what_peft_saves_opens_here(tmp_path, rslora):
    peft = pytest.importorskip("peft", reason="the peft package, the oracle, is not installed")
    model = make()
    model.save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(r=4, lora_alpha=3, target_modules=["k_proj", "gate_proj"], use_rslora=rslora)
    wrapped = peft.get_peft_model(theirs(tmp_path / "base"), config).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    wrapped.save_pretrained(tmp_path / "adapter")
    adapter = lora.load(model, tmp_path / "adapter")
    assert len(adapter.layers) == 4
    np.testing.assert_allclose(model(IDS).numpy(), logits(wrapped), rtol=0, atol=1e-5)
    adapter.save(tmp_path / "again")
    other = make()
    lora.load(other, tmp_path / "again")
    assert (other(IDS) == model(IDS)).numpy().all()


def test_a_bert_and_its_names(tmp_path):
    pf.manual_seed(1)
    config = BertConfig(10, 16, num_layers=2, num_heads=2, embed_dim=16)
    model = BertClassifier(config).eval()
    base = copy.deepcopy(model)
    learned(model).save(tmp_path)
    values = json.loads((tmp_path / "adapter_config.json").read_text())
    assert values["target_modules"] == ["query", "value"]
    tensors, _ = formats.read_safetensors(tmp_path / "adapter_model.safetensors")
    assert "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight" in tensors
    lora.load(base, tmp_path)
    assert (base(IDS) == model(IDS)).numpy().all()
    one = BertClassifier(config)
    learned(one, targets=("up",)).save(tmp_path)
    values = json.loads((tmp_path / "adapter_config.json").read_text())
    assert values["target_modules"] == [f"bert.encoder.layer.{i}.intermediate.dense" for i in (0, 1)]


def test_a_gpt():
    model = GPT(GPTConfig(10, 16, num_layers=1, num_heads=2, embed_dim=16)).eval()
    before = model(IDS)
    lora.add(model, targets=("c_attn",), rank=2)
    assert (model(IDS) == before).numpy().all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"targets": ("q_proj", "nothing")}, ValueError, "got nothing"),
        ({"targets": ()}, ValueError, "targets must be among down_proj, gate_proj, .*, got none"),
        ({"rank": 0}, ValueError, "rank must be at least 1"),
        ({"rank": 2.0}, TypeError, "rank must be an int"),
        ({"alpha": 0}, ValueError, "alpha must be above 0"),
        ({"alpha": float("nan")}, ValueError, "alpha must be above 0"),
        ({"alpha": "1"}, TypeError, "alpha must be a number"),
        ({"dropout": 1.0}, ValueError, "dropout must be in"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        lora.add(make(), **options)


def test_what_has_none_or_has_them_already(tmp_path):
    model = make()
    for call in (lambda: lora.merge(model), lambda: lora.save(model, tmp_path)):
        with pytest.raises(ValueError, match="has no LoRA layers"):
            call()
    lora.add(model)
    with pytest.raises(ValueError, match="has LoRA layers already"):
        lora.add(model)
    with pytest.raises(TypeError, match="expected a model of"):
        lora.add(pf.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type must be 'LORA', got 'IA3'"),
        ({"bias": "all"}, "bias must be 'none'"),
        ({"use_dora": True}, "not followed here: use_dora"),
        ({"rank_pattern": {"q_proj": 9}}, "not followed here: rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "not followed here: modules_to_save"),
        ({"something": "new"}, "not followed here: something"),
        ({"init_lora_weights": "pissa"}, "may change the model's own weights"),
        ({"r": 4}, "expected layers of rank 4, got .3"),
        ({"r": 0}, "r must be a number above 0, got 0"),
        ({"r": True}, "r must be a number above 0"),
        ({"r": 2.5}, "r must be a whole number, got 2.5"),
        ({"use_rslora": 1}, "use_rslora must be a bool, got 1"),
        ({"fan_in_fan_out": "no"}, "fan_in_fan_out must be a bool, got 'no'"),
        ({"layers_to_transform": ["0"]}, "layers_to_transform must be ints"),
        ({"target_modules": [1]}, "target_modules must be strs"),
        ({"trainable_token_indices": [1]}, "not followed here: trainable_token_indices"),
        ({"lora_alpha": None}, "lora_alpha must be a number"),
        ({"lora_alpha": 1e400}, "lora_alpha must be a number"),
        ({"lora_dropout": "x"}, "lora_dropout must be a number"),
    ],
)
def test_settings_that_are_not_known_are_named(tmp_path, changes, message):
    learned(make()).save(tmp_path)
    values = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**values, **changes}))
    with pytest.raises(ValueError, match=message):
        lora.load(make(), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"), "must have both"),
        (lambda t: t.update({"x": pf.ones(2, 2)}), "x is of no Linear layer of this Llama"),
        (
            lambda t: t.update({"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": pf.ones(3, 32)}),
            "layers.7.self_attn.q_proj.lora_A.weight is of no Linear",
        ),
        (
            lambda t: t.update({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": pf.ones(3, 31)}),
            "lora_A and lora_B of layers.0.self_attn.q_proj must be",
        ),
        (lambda t: t.clear(), "expected layers of rank 3, got"),
        (
            lambda t: t.update({name: t[name].to(pf.int32) for name in [*t][-1:]}),
            "layers.1.self_attn.v_proj must have floats, got",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    learned(make()).save(tmp_path)
    tensors, _ = formats.read_safetensors(tmp_path / "adapter_model.safetensors")
    change(tensors)
    with formats.atomic_files(tmp_path / "adapter_model.safetensors") as (file,):
        formats.write_safetensors(file, tensors)
    model = make()
    with pytest.raises(ValueError, match=message):
        lora.load(model, tmp_path)
    lora.add(model)  # it has none of the file's


def test_a_model_whose_layers_find_no_memory_stays_as_it_was():
    model = make()
    model.norm.weight.requires_grad = False
    before = [p.requires_grad for p in model.parameters()]
    with pytest.raises(MemoryError):
        lora.add(model, rank=1 << 40)
    assert [p.requires_grad for p in model.parameters()] == before
    assert not before[-1] or not all(before)
    lora.add(model, rank=2)  # it has none of the others


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        lora.load(make(), tmp_path)
    learned(make()).save(tmp_path)
    data = (tmp_path / "adapter_model.safetensors").read_bytes()
    for cut in (0, 7, 100, len(data) - 1):
        (tmp_path / "adapter_model.safetensors").write_bytes(data[:cut])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            lora.load(make(), tmp_path)
    (tmp_path / "adapter_config.json").write_text("[" * 1000)
    with pytest.raises(ValueError, match="JSON"):
        lora.load(make(), tmp_path)


def test_smollm2_learns_from_shakespeare_what_helps_with_other_lines():
    path, text = real_data.load(datasets.smollm2), real_data.load(datasets.shakespeare)
    tokenizer, model = pf.load_tokenizer(path), pf.from_pretrained(path)
    start = text.index("ACT I")
    ids = tokenizer.encode(text[start : start + 40_000])[: 9 * 4 * 33].reshape(9, 4, 33)
    pf.manual_seed(0)
    adapter = lora.add(model, rank=8, alpha=16, targets=("q_proj", "v_proj"))
    optimizer = pf.optim.AdamW(adapter.parameters(), lr=2e-3, weight_decay=0.0)

    def held_out() -> float:
        with pf.no_grad():
            return model.loss(ids[8][:, :-1], ids[8][:, 1:]).item()

    before = held_out()
    for batch in ids[:8]:
        optimizer.zero_grad()
        model.loss(batch[:, :-1], batch[:, 1:]).backward()
        optimizer.step()
    assert held_out() < before - 0.1


def tied(**changes) -> Llama:
    model = make(**changes)
    model.layers[1].self_attn.q_proj.weight = model.layers[0].self_attn.q_proj.weight
    return model


def test_a_weight_at_two_places_has_one_adapter_and_is_merged_once(tmp_path):
    model = tied()
    model.layers[1].mlp = model.layers[0].mlp  # and modules that stand twice
    adapter = learned(model, targets=("q_proj", "up_proj"))
    assert len(adapter.layers) == 4
    assert len(adapter.parameters()) == 4
    wanted = model(IDS).numpy()
    adapter.save(tmp_path)
    again = tied()
    again.layers[1].mlp = again.layers[0].mlp
    lora.load(again, tmp_path)
    assert (again(IDS).numpy() == wanted).all()
    lora.merge(model)
    np.testing.assert_allclose(model(IDS).numpy(), wanted, rtol=0, atol=2e-6)
    assert model.layers[1].self_attn.q_proj.weight is model.layers[0].self_attn.q_proj.weight
    assert model.layers[1].mlp.up_proj is model.layers[0].mlp.up_proj
    tensors, _ = formats.read_safetensors(tmp_path / "adapter_model.safetensors")
    tensors["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"] *= 2.0
    with formats.atomic_files(tmp_path / "adapter_model.safetensors") as (file,):
        formats.write_safetensors(file, tensors)
    with pytest.raises(
        ValueError, match=r"layers.1.self_attn.q_proj and layers.0.self_attn.q_proj are one weight here"
    ):
        lora.load(tied(), tmp_path)


def test_places_of_one_weight_part_where_only_one_has_learned(caplog):
    model = make(num_kv_heads=4)
    attention = model.layers[0].self_attn
    attention.k_proj.weight = attention.q_proj.weight
    learned(model)
    wanted = model(IDS).numpy()
    lora.merge(model)
    np.testing.assert_allclose(model(IDS).numpy(), wanted, rtol=0, atol=2e-6)
    message = "layers.0.self_attn.q_proj.weight is no longer one with layers.0.self_attn.k_proj.weight"
    assert message in caplog.text
    assert attention.k_proj.weight is not attention.q_proj.weight


def test_float16_weights_learn_through_float32_adapters():
    model = make().to("float16")
    before = model(IDS).numpy()
    adapter = lora.add(model, rank=2)
    assert (model(IDS).numpy() == before).all()
    assert all(p.dtype == pf.float32 for p in adapter.parameters())
    for layer in adapter.layers.values():
        pf.nn.init.normal_(layer.lora_B.weight, std=0.2)
    model.loss(IDS, IDS).backward()
    assert all(np.isfinite(p.grad.numpy()).all() and p.grad.numpy().any() for p in adapter.parameters())
    wanted = model(IDS)
    assert wanted.dtype == pf.float16
    lora.merge(model)
    np.testing.assert_allclose(model(IDS).numpy(), wanted.numpy(), rtol=0, atol=0.01)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_model_moves_to_a_dtype_with_its_adapters(dtype):
    model = make()
    adapter = learned(model)
    wanted = model(IDS).numpy()
    model.to(dtype)
    np.testing.assert_allclose(model(IDS).to("float64").numpy(), wanted, rtol=0, atol=0.05)
    model.loss(IDS, IDS).backward()
    assert all(p.grad is not None for p in adapter.parameters())


def test_hooks_and_what_users_have_added_stay():
    model, seen = make(), []
    layer = model.layers[0].self_attn.q_proj
    hook = layer.register_forward_hook(lambda module, args, result: seen.append(type(module).__name__))
    hook_before = layer.register_forward_pre_hook(lambda module, args: seen.append("before"))
    layer.register_buffer("mask", pf.ones(3))
    layer.note = "mine"
    adapter = lora.add(model, rank=2)
    model(IDS)
    assert adapter.layers["layers.0.self_attn.q_proj"].note == "mine"
    assert "layers.0.self_attn.q_proj.mask" in dict(model.named_buffers())
    lora.merge(model)
    model(IDS)
    assert seen == ["before", "LoRALinear", "before", "Linear"]
    assert "layers.0.self_attn.q_proj.mask" in dict(model.named_buffers())
    hook.remove()
    hook_before.remove()
    model(IDS)
    assert len(seen) == 4


def changed(tmp_path, **changes) -> dict:
    """A saved adapter with other settings, and those."""
    learned(make()).save(tmp_path)
    path = tmp_path / "adapter_config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(values))
    return values


def test_what_the_settings_say_besides_is_written_again(tmp_path):
    said = {"base_model_name_or_path": "org/base", "task_type": "CAUSAL_LM", "revision": "v1", "layers_pattern": ["h"]}
    said |= {"exclude_modules": ["lm_head"], "target_modules": ["v_proj", "q_proj"], "megatron_core": "megatron.core"}
    said |= {"auto_mapping": {"parent_library": "x"}, "peft_version": "0.18.1", "init_lora_weights": True}
    values = changed(tmp_path, **said)
    model = make()
    lora.load(model, tmp_path).save(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "adapter_config.json").read_text())
    assert again == values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"target_modules": ["q_proj", "v_proj", "k_proj"]},
            "no tensors for: model.layers.0.self_attn.k_proj, model.l",
        ),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True, and read as False"),
    ],
)
def test_settings_that_the_tensors_contradict_are_named(tmp_path, caplog, changes, message):
    changed(tmp_path, **changes)
    assert len(lora.load(make(), tmp_path).layers) == 4
    assert message in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": ["model.layers.0.self_attn.q_proj", "v_proj"]},
        {"exclude_modules": ["q_proj"]},
        {"layers_to_transform": [0]},
        {"layers_to_transform": 0, "layers_pattern": "layers"},
    ],
)
def test_tensors_that_the_settings_leave_out_are_refused(tmp_path, changes):
    changed(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"tensors of layers that its settings leave out: model.layers.\d"):
        lora.load(make(), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers_to_transform": [0, 1]},
        {"layers_to_transform": [1, 0], "layers_pattern": ["layers"]},
        {"target_modules": r".*\.(q|v)_proj"},
        {"target_modules": None},
        {"exclude_modules": ["o_proj"]},
    ],
)
def test_settings_that_fit_the_tensors_say_nothing(tmp_path, caplog, changes):
    values = changed(tmp_path, **changes)
    model = make()
    lora.load(model, tmp_path).save(tmp_path)
    assert not caplog.records
    again = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {k: again[k] for k in changes if values[k]} == {k: values[k] for k in changes if values[k]}


def test_layers_in_lists_get_adapters_too():
    model = make()
    model.more = pf.nn.ModuleList([pf.nn.Linear(32, 3), pf.nn.Sequential(pf.nn.Linear(32, 3))])
    adapter = lora.add(model, targets=("0",))
    assert sorted(adapter.layers) == ["more.0", "more.1.0"]
    assert model.more[1](pf.ones(1, 32)).shape == (1, 3)
    lora.merge(model)
    assert [type(layer) for layer in (model.more[0], model.more[1][0])] == [pf.nn.Linear] * 2
    assert len(model.more) == 2


MODELS = {
    "GPT": lambda: GPT(GPTConfig(10, 16, num_layers=1, num_heads=2, embed_dim=16, tied=False)),
    "Llama": lambda: Llama(LlamaConfig(10, 16, num_layers=1, num_heads=2, embed_dim=16)),
    "BertClassifier": lambda: BertClassifier(BertConfig(10, 16, num_layers=1, num_heads=2, embed_dim=16)),
    "RetNet": lambda: pf.models.RetNet(pf.models.RetNetConfig(10, 16, num_layers=1, num_heads=2, embed_dim=16)),
    "EncoderDecoder": lambda: pf.models.EncoderDecoder(
        pf.models.EncoderDecoderConfig(10, 16, num_layers=1, num_heads=2, embed_dim=16)
    ),
    "T5": lambda: pf.models.T5(pf.models.T5Config(10, num_layers=1, num_heads=2, embed_dim=16, tied=False)),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_layer_that_gets_an_adapter_computes_with_it(name):
    """Operations that do the work of several layers leave none of them out, nor does a loss the last one."""
    pf.manual_seed(5)
    targets = sorted({path.rpartition(".")[2] for path in lora.places.linear_layers(MODELS[name]())})
    assert len(targets) > 2
    for target in targets:
        pf.manual_seed(5)
        model = MODELS[name]().eval()
        args = (IDS, IDS) if name in ("EncoderDecoder", "T5") else (IDS,)
        before = model(*args).numpy()
        adapter = learned(model, targets=(target,))
        after = model(*args).detach()
        assert (after.numpy() != before).any(), target
        labels = IDS[:, 0] % 2 if name == "BertClassifier" else IDS
        loss = model.loss(IDS, labels)
        loss.backward()
        for part in adapter.parameters():
            assert np.abs(part.grad.numpy()).max() > 0, target
        merged = lora.merge(model)
        np.testing.assert_allclose(merged(*args).detach().numpy(), after.numpy(), atol=1e-5, err_msg=target)
        assert merged.loss(IDS, labels).item() == pytest.approx(loss.item(), abs=1e-5), target


PARTS = {
    "ModernBERT": lambda: pf.models.Encoder(pf.models.EncoderConfig(10, 16, 2, 2, 16)),
    "Phi 3": lambda: pf.models.Decoder(pf.models.DecoderConfig(10, 16, 2, 2, 16, family="phi3")),
}


@pytest.mark.parametrize("name", PARTS)
def test_layers_that_are_parts_of_one_matrix_in_files_all_come_back(name, tmp_path, caplog):
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    pf.manual_seed(5)
    model = PARTS[name]().eval()
    learned(model, targets=targets)
    wanted = model(IDS).detach().numpy()
    lora.save(model, tmp_path)
    assert "peft can't read the layers of gate_proj, k_proj, q_proj, up_proj, v_proj" in caplog.text
    pf.manual_seed(5)
    again = PARTS[name]().eval()
    assert len(lora.load(again, tmp_path).layers) == len(targets) * 2
    np.testing.assert_array_equal(again(IDS).detach().numpy(), wanted)
    lora.merge(again).save_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(pf.from_pretrained(tmp_path / "merged")(IDS).detach().numpy(), wanted, atol=1e-5)
