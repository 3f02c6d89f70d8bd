"""Muon for the matrices inside the blocks, Adam for everything else, as one optimiser.

Muon replaces a matrix's momentum by the nearest orthogonal matrix, found with a few Newton-Schulz
steps (Keller Jordan, "Muon: an optimizer for hidden layers", 2024). All matrices of one shape are
stacked, so that the whole network takes two batched iterations a step instead of 48 small ones.
"""
import torch

# The quintic whose iteration drives every singular value towards 1 fastest from small values.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalised(g, rounds):
    """g is [n, rows, columns] with rows <= columns."""
    x = g.bfloat16()
    x = x / (x.float().norm(dim=(1, 2), keepdim=True).bfloat16() + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.float()


def pieces_of(name, matrix):
    """Views of one weight as wide or square matrices: q, k and v are three separate maps."""
    pieces = matrix.chunk(3) if name.endswith("qkv.weight") else [matrix]
    return [piece.mT if piece.shape[0] > piece.shape[1] else piece for piece in pieces]


class MuonAndAdam:
    def __init__(self, model, muon_lr=2e-3, adam_lr=1e-3, momentum=0.95, decay=0.02, rounds=5):
        self.muon_lr, self.adam_lr = muon_lr, adam_lr
        self.momentum, self.decay, self.rounds = momentum, decay, rounds
        named = dict(model.named_parameters())
        matrices = {
            name: p for name, p in named.items() if ".attn." in name or ".mlp.fc" in name
        }
        others = [p for name, p in named.items() if name not in matrices]
        self.matrices, self.parameters = matrices, list(named.values())
        self.adam = torch.optim.Adam(others, lr=adam_lr, betas=(0.9, 0.99), fused=True)
        self.buffers = {name: torch.zeros_like(p) for name, p in matrices.items()}

    @torch.no_grad()
    def step(self, factor, clip=1.0):
        """One update at `factor` times the base learning rates; returns the gradient norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * factor
        self.adam.step()
        self._step_muon(self.muon_lr * factor)
        for parameter in self.parameters:
            parameter.grad = None
        return float(norm)

    def _step_muon(self, lr):
        weights = list(self.matrices.values())
        gradients = [weight.grad for weight in weights]
        momenta = list(self.buffers.values())
        torch._foreach_lerp_(momenta, gradients, 1 - self.momentum)
        nesterov = torch._foreach_lerp(gradients, momenta, self.momentum)
        torch._foreach_mul_(weights, 1 - lr * self.decay)
        stacks = {}
        for name, weight, update in zip(self.matrices, weights, nesterov):
            for target, piece in zip(pieces_of(name, weight), pieces_of(name, update)):
                stacks.setdefault(target.shape, []).append((target, piece))
        for shape, pairs in stacks.items():
            updates = orthogonalised(torch.stack([piece for _, piece in pairs]), self.rounds)
            # An orthogonal n x m matrix has entries of size 1/sqrt(max(n, m)); this factor gives
            # the update the size of a typical Adam step, whatever the shape.
            scale = 0.2 * max(shape) ** 0.5
            torch._foreach_add_([target for target, _ in pairs], list(updates), alpha=-lr * scale)

    def state(self):
        return {"adam": self.adam.state_dict(), "momenta": self.buffers}

    def load(self, state):
        self.adam.load_state_dict(state["adam"])
        for name, momentum in state["momenta"].items():
            self.buffers[name].copy_(momentum)
