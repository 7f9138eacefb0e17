"""Cases of attention, attention_packed and rope. The oracle is torch's softmax of masked scores, written out."""

from __future__ import annotations

import numpy as np

from case_tables.case import Case


def _allowed(torch, b, tq, tk, causal, window, key_lengths, query_offset):
    """(B, 1, Tq, Tk) booleans: who may attend to whom."""
    lengths = torch.full((b,), tk) if key_lengths is None else key_lengths
    offset = lengths - tq if query_offset is None else query_offset
    p = offset[:, None, None] + torch.arange(tq)[None, :, None]
    j = torch.arange(tk)[None, None, :]
    allowed = (j < lengths[:, None, None]).expand(b, tq, tk).clone()
    if causal:
        allowed &= j <= p
    if window is not None:
        allowed &= (j > p - window) & (j <= p)
    return allowed[:, None]


def _torch_attention(causal, scale, window, softcap=None):
    def run(torch, q, k, v, mask=None, key_lengths=None, query_offset=None, sinks=None):
        b, tq, h, d = q.shape
        group = h // k.shape[2]
        k, v = (x.repeat_interleave(group, dim=2).transpose(1, 2) for x in (k, v))
        scores = q.transpose(1, 2) @ k.transpose(-1, -2) * (d**-0.5 if scale is None else scale)
        scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
        allowed = _allowed(torch, b, tq, k.shape[2], causal, window, key_lengths, query_offset)
        allowed = allowed.expand_as(scores)
        if mask is not None and mask.dtype == torch.bool:
            allowed = allowed & mask
        elif mask is not None:
            scores = scores + mask
            allowed = allowed & ~torch.isneginf(mask)
        scores = scores.masked_fill(~allowed, -1e30)
        lse = torch.logsumexp(scores, dim=-1, keepdim=True).clamp(min=-1e30)  # finite with no key at all
        lse = lse if sinks is None else torch.logaddexp(lse, sinks[:, None, None])
        fixed = lse.detach()
        out = torch.exp(scores - fixed).masked_fill(~allowed, 0.0) @ v
        # The gradient of the sum of exponentials by way of the output, as fused kernels take it.
        out = out - (lse - fixed) * out.detach()
        return out.transpose(1, 2).contiguous()

    return run


def _attention(
    name,
    b,
    tq,
    tk,
    h,
    hkv,
    d,
    *,
    dv=None,
    causal=False,
    scale=None,
    window=None,
    extra=None,
    spread=1.0,
    softcap=None,
    sinks=False,
    bench=False,
):
    dv = d if dv is None else dv

    def inputs(rng):
        arrays = {
            "q": rng.standard_normal((b, tq, h, d)) * spread,
            "k": rng.standard_normal((b, tk, hkv, d)),
            "v": rng.standard_normal((b, tk, hkv, dv)),
        }
        arrays |= extra(rng) if extra else {}
        return arrays | ({"sinks": rng.standard_normal(h)} if sinks else {})

    def run(pf, q, k, v, **options):
        return pf.ops.attention(q, k, v, causal=causal, scale=scale, window=window, softcap=softcap, **options)

    pairs = tq * tk * (0.5 if causal and tq == tk else 1.0)
    return Case(
        "attention",
        name,
        inputs,
        run,
        _torch_attention(causal, scale, window, softcap),
        grads=("q", "k", "v", "sinks") if sinks else ("q", "k", "v"),
        reduction=max(tk, tq * h // hkv, d, dv, b * tq if sinks else 0),
        flops=2.0 * b * h * pairs * (d + dv),
        bytes=4.0 * b * (d + dv) * (tq * h + tk * hkv),
        bench=bench,
    )


def _causal(tq, tk, **options):
    return _attention(f"causal-{tq}x{tk}", 2, tq, tk, 2, 2, 16, causal=True, **options)


def _packed(name, b, t, h, d, *, causal=True, bench=False, softcap=None, sinks=False):
    def torch_packed(torch, qkv, **options):
        return _torch_attention(causal, None, None, softcap)(torch, *qkv.unbind(2), **options)

    def inputs(rng):
        arrays = {"qkv": rng.standard_normal((b, t, 3, h, d))}
        return arrays | ({"sinks": rng.standard_normal(h)} if sinks else {})

    def torch_fused(torch, qkv):
        """What torch users call; it never holds the scores, so it is the rival, while the oracle is written out."""
        heads_first = (x.transpose(1, 2) for x in qkv.unbind(2))
        return torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=causal).transpose(1, 2)

    return Case(
        "attention_packed",
        name,
        inputs,
        lambda pf, qkv, **options: pf.ops.attention_packed(qkv, causal=causal, softcap=softcap, **options),
        torch_fused if bench else torch_packed,
        grads=("qkv", "sinks") if sinks else ("qkv",),
        reduction=max(t, d, b * t if sinks else 0),
        flops=4.0 * b * h * t * t * (0.5 if causal else 1.0) * d,
        bytes=4.0 * b * t * h * d * 4,
        bench=bench,
    )


def _fully_masked(rng):
    mask = rng.random((2, 1, 9, 70)) < 0.5
    mask[0, 0, 3] = False
    mask[1] = False
    return {"mask": mask}


def _rope(name, dim, rotated, *, batched=False, interleaved=False):
    def inputs(rng):
        return {
            "x": rng.standard_normal((2, 7, 3, dim)),
            "positions": rng.integers(0, 3000, (2, 7) if batched else (7,)),
            "frequencies": 10000.0 ** (-np.arange(rotated) / rotated),
        }

    def torch_rope(torch, x, positions, frequencies):
        angles = (positions[..., None].double() * frequencies.double())[..., None, :]
        angles = angles if batched else angles[None]
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        turned, rest = x[..., : 2 * rotated], x[..., 2 * rotated :]
        if interleaved:
            first, second = turned[..., 0::2], turned[..., 1::2]
        else:
            first, second = turned[..., :rotated], turned[..., rotated:]
        a, b = first * cos - second * sin, first * sin + second * cos
        out = torch.stack([a, b], -1).flatten(-2) if interleaved else torch.cat([a, b], -1)
        return torch.cat([out, rest], -1)

    return Case(
        "rope",
        name,
        inputs,
        lambda pf, x, positions, frequencies: pf.ops.rope(x, positions, frequencies, interleaved=interleaved),
        torch_rope,
        grads=("x",),
    )


# More than a tile of rows, heads of 64 and 128: what bulk copies of a GPU bring, so that its products are wgmma's.
WIDE = [
    _attention("bulk-grouped-64", 1, 66, 70, 2, 1, 64, causal=True),
    _attention("bulk-window-128", 1, 66, 66, 1, 1, 128, causal=True, window=40),
]
CASES = [
    *WIDE,
    *(_causal(t, t) for t in (1, 2, 15, 16, 17, 63, 64, 65, 130)),
    _causal(1, 100),
    _causal(5, 70),
    _causal(70, 33),  # the first queries see nothing
    _causal(300, 300),
    *(_attention(f"width-{d}", 1, 19, 21, 2, 2, d) for d in (1, 3, 8, 17, 31, 33, 64, 80, 128, 257)),
    _attention("cross", 3, 5, 129, 4, 4, 24),
    *(
        _attention(f"width-{d}x{dv}", 1, 19, 70, 2, 2, d, dv=dv)
        for d, dv in ((8, 1), (1, 8), (16, 17), (17, 16), (31, 64), (64, 31), (8, 300), (300, 8))
    ),
    _attention("values-wide-causal", 2, 70, 70, 6, 2, 16, dv=40, causal=True),
    _attention("values-narrow-causal", 2, 70, 70, 6, 2, 40, dv=16, causal=True),
    _attention("values-wide-window", 1, 150, 150, 2, 1, 16, dv=24, causal=True, window=40),
    _attention("values-wide-few-rows", 3, 2, 600, 4, 2, 16, dv=33, causal=True),
    _attention("values-narrow-few-rows", 3, 1, 600, 4, 2, 33, dv=16),
    _attention("values-wide-boolean-mask", 2, 9, 70, 2, 2, 8, dv=20, extra=_fully_masked),
    _attention("values-wide-query-chunks", 1, 2100, 40, 4, 2, 8, dv=12),
    _attention("values-narrow-query-chunks", 1, 2100, 40, 4, 2, 12, dv=8),
    _attention(
        "values-wide-added-mask", 2, 9, 70, 2, 2, 8, dv=20, extra=lambda rng: {"mask": rng.standard_normal((2, 9, 70))}
    ),
    _attention(
        "values-wide-cache",
        3,
        2,
        300,
        4,
        2,
        16,
        dv=48,
        causal=True,
        extra=lambda rng: {"key_lengths": np.array([300, 2, 65])},
    ),
    _attention("grouped", 2, 33, 66, 6, 2, 16, causal=True),
    _attention("one-key-head", 2, 20, 20, 4, 1, 16, causal=True),
    _attention("scale", 1, 9, 9, 1, 1, 16, scale=0.7),
    _attention("window", 1, 150, 150, 2, 1, 16, causal=True, window=40),
    _attention("window-of-one", 1, 9, 9, 2, 2, 8, window=1),
    _attention(
        "key-lengths",
        4,
        70,
        70,
        2,
        2,
        16,
        causal=True,
        extra=lambda rng: {"key_lengths": np.array([70, 1, 64, 0]), "query_offset": np.zeros(4, np.int64)},
    ),
    _attention(
        "cache",
        3,
        2,
        100,
        4,
        2,
        16,
        causal=True,
        extra=lambda rng: {"key_lengths": np.array([100, 2, 65])},
    ),
    _attention("boolean-mask", 2, 9, 70, 2, 2, 16, extra=_fully_masked),
    _attention("added-mask", 2, 9, 70, 2, 2, 16, extra=lambda rng: {"mask": rng.standard_normal((2, 9, 70))}),
    _attention(
        "added-infinity",
        2,
        9,
        70,
        2,
        2,
        16,
        extra=lambda rng: {"mask": np.where(rng.random((1, 1, 9, 70)) < 0.4, -np.inf, 0.5)},
    ),
    _causal(1, 600),
    _causal(4, 513),
    _attention("few-rows-odd-width", 1, 3, 300, 2, 2, 17, causal=True),
    _attention("few-rows-one-key-head", 2, 1, 300, 4, 1, 16, causal=True),
    _attention("few-rows-window", 1, 2, 700, 2, 2, 16, causal=True, window=300),
    _attention(
        "few-rows-cache",
        5,
        2,
        600,
        4,
        2,
        16,
        causal=True,
        extra=lambda rng: {"key_lengths": np.array([600, 2, 257, 0, 512])},
    ),
    _attention(
        "few-rows-masked-ranges",
        2,
        2,
        800,
        2,
        2,
        16,
        extra=lambda rng: {"mask": np.arange(800).reshape(1, 1, 800) // 256 == np.arange(2).reshape(2, 1, 1) * 2},
    ),
    _attention("query-chunks", 1, 2100, 40, 2, 1, 8),
    _attention(
        "query-chunks-late",  # nobody in the first chunk sees anything
        1,
        2100,
        40,
        1,
        1,
        8,
        causal=True,
        extra=lambda rng: {"query_offset": np.array([-2060])},
    ),
    _attention("no-keys", 1, 3, 0, 1, 1, 8),
    _attention("no-queries", 1, 0, 5, 1, 1, 8),
    _attention("empty-batch", 0, 3, 5, 2, 1, 8),
    _attention("large-scores", 1, 20, 80, 1, 1, 16, causal=True, spread=30.0),
    _attention("softcap", 2, 9, 70, 2, 2, 16, softcap=0.7, spread=3.0),
    _attention("softcap-causal-grouped", 2, 33, 66, 6, 2, 16, dv=24, causal=True, softcap=2.0),
    _attention("softcap-window", 1, 70, 70, 2, 2, 16, causal=True, window=9, softcap=2.0),
    _attention("sinks", 2, 9, 70, 4, 2, 16, sinks=True),
    _attention("sinks-causal", 2, 70, 33, 2, 2, 16, causal=True, sinks=True),  # the first queries see nothing
    _attention("sinks-no-keys", 1, 3, 0, 1, 1, 8, sinks=True),
    _attention("sinks-boolean-mask", 2, 9, 70, 2, 2, 16, extra=_fully_masked, sinks=True),
    _attention(
        "softcap-sinks-added-infinity",
        2,
        9,
        70,
        2,
        2,
        16,
        extra=lambda rng: {"mask": np.where(rng.random((1, 1, 9, 70)) < 0.4, -np.inf, 0.5)},
        softcap=2.0,
        sinks=True,
    ),
    _attention(
        "softcap-sinks-cache",
        3,
        2,
        300,
        4,
        2,
        16,
        dv=20,
        causal=True,
        extra=lambda rng: {"key_lengths": np.array([300, 2, 65]), "query_offset": np.array([290, 0, 63])},
        softcap=2.0,
        sinks=True,
    ),
    _packed("softcap-sinks", 2, 17, 3, 16, softcap=2.0, sinks=True),
    _packed("2x37", 2, 37, 3, 16),
    _packed("full", 1, 66, 2, 20, causal=False),
    _packed("1x200", 1, 200, 2, 64),
    _rope("halves", 16, 8),
    _rope("interleaved", 16, 8, interleaved=True),
    _rope("part", 20, 5, batched=True),
    _rope("odd", 7, 3, batched=True, interleaved=True),
    _packed("B4-H12-T256-D64", 4, 256, 12, 64, bench=True),
    _packed("B1-H12-T1024-D64", 1, 1024, 12, 64, bench=True),
    _packed("B1-H12-T4096-D64", 1, 4096, 12, 64, bench=True),
    _packed("B12-H4-T64-D32", 12, 64, 4, 32, bench=True),
]
