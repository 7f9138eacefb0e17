"""The layers of the ladder, each of which mends what the one before broke."""

from __future__ import annotations

import pyformer as pf
from pyformer import nn, ops
from pyformer.models.derivation.frame import KERNEL, average, importance, mixed, weighted_sum


class Convolution(nn.Module):
    """y_i = relu(W [x_(i-1); x_i; x_(i+1)] + b), or of the last three words if causal: (B, n, C) -> (B, n, C)."""

    def __init__(self, inputs: int, outputs: int, causal: bool) -> None:
        super().__init__()
        self.before, self.after = (KERNEL - 1, 0) if causal else (KERNEL // 2, KERNEL // 2)
        self.conv = nn.Conv1d(inputs, outputs, KERNEL)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        x = x.transpose(0, 2, 1)
        if self.after:
            x = ops.where(seen[:, :1], x, 0.0)  # the last word of a sentence sees no padding
        x = ops.pad(x, [(0, 0), (0, 0), (self.before, self.after)])
        return ops.relu(self.conv(x)).transpose(0, 2, 1)


class PairNetwork(nn.Module):
    """f(x_i, x_j) = W2 relu(W1 [x_i; x_j] + b1) + b2 for every pair: (B, n, C) -> (B, n, n, outputs)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.left = nn.Linear(width, width)
        self.right = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, outputs)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        # W1 [x_i; x_j] is the sum of a left and a right part, each needed only n times.
        batch, n, width = x.shape
        left = self.left(x).reshape(batch, n, 1, width)
        right = self.right(x).reshape(batch, 1, n, width)
        return self.out(ops.relu(left + right))


class Pairs(nn.Module):
    """A network on every pair, and nothing more: n vectors become n x n: (B, n, C) -> (B, n, n, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = PairNetwork(width, width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        return self.pairs(x)


class PairSum(nn.Module):
    """y_i = mean_j f(x_i, x_j), a sum over j divided by their number: (B, n, C) -> (B, n, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = PairNetwork(width, width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        return average(self.pairs(x), seen)


class ImportanceSum(nn.Module):
    """y_i = sum_j softmax_j(s(x_i, x_j)) f(x_i, x_j), s another network on pairs: (B, n, C) -> (B, n, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = PairNetwork(width, width)
        self.scores = PairNetwork(width, 1)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        scores = self.scores(x)
        return weighted_sum(importance(scores.reshape(scores.shape[:3]), seen), self.pairs(x), seen)


class SelfAttention(nn.Module):
    """y_i = sum_j softmax_j(q_i . k_j / sqrt(C)) v_j, with q, k, v linear in x: (B, n, C) -> (B, n, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        scores = ops.matmul(self.query(x), self.key(x), transpose_b=True) * x.shape[-1] ** -0.5
        return mixed(importance(scores, seen), self.value(x), seen)


class AttentionMLP(nn.Module):
    """y_i = mlp(attention(x)_i): each word thinks alone about what it gathered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width)
        self.mlp = nn.MLP(width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        return self.mlp(self.attention(x, seen))


class Residual(AttentionMLP):
    """x + attention(x), then x + mlp(x): a layer only adds to what is there."""

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        x = x + self.attention(x, seen)
        return x + self.mlp(x)


class Normalised(AttentionMLP):
    """x + attention(norm(x)), then x + mlp(norm(x)): what a layer reads has always the same scale."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.attention_norm = nn.LayerNorm(width)
        self.mlp_norm = nn.LayerNorm(width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        x = x + self.attention(self.attention_norm(x), seen)
        return x + self.mlp(self.mlp_norm(x))


class Heads(nn.Module):
    """H attentions side by side, each on C / H numbers of the vector, mixed by one more matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.mix = nn.Linear(width, width)

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        batch, n, width = x.shape
        q, k, v = (f(x).reshape(batch, n, self.heads, -1) for f in (self.query, self.key, self.value))
        gathered = ops.attention(q, k, v, mask=seen.reshape(-1, 1, n, n))
        return self.mix(gathered.reshape(batch, n, width))


class Transformer(Normalised):
    """The last rung: x + heads(norm(x)), then x + mlp(norm(x)), which is `nn.TransformerBlock`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width)
        self.attention = Heads(width, heads)
