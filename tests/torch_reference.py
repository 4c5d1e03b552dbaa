"""The released training step in PyTorch, written from the published formulas.

Released architecture and parameter names, with a shallower ResNet for speed: two
passes of the image encoder, Set2Set over frozen category vectors, NT-Xent of view 1
with the POIs and of view 1 with view 2, Adam.
"""

import numpy as np
from oracles import import_oracle, import_torchvision

torch = import_oracle("torch")
aggr = import_oracle("torch_geometric.nn.aggr")
nn = torch.nn

STAGES = (1, 1)  # two blocks: test_resnet.py has the depth


class Reference:
    """The two encoders, and what a step makes of them.

    Attributes:
        image_side: Module with the released names of the image checkpoint.
        poi_side: Module with the released names of the POI checkpoint.
    """

    def __init__(self, table, *, temperature=0.5, image_weight=0.5, rate=1e-2):
        torch.manual_seed(0)
        resnet = import_torchvision().models.resnet
        self.image_side = nn.Module()
        encoder = resnet.ResNet(resnet.BasicBlock, (*STAGES, 1, 1))
        encoder.layer3 = encoder.layer4 = nn.Identity()
        encoder.fc = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128))
        nn.init.normal_(encoder.fc[2].weight, std=0.01)
        nn.init.zeros_(encoder.fc[2].bias)
        self.image_side.encoder = encoder

        dim = table.shape[1]
        self.poi_side = nn.Module()
        self.poi_side.set2set = aggr.Set2Set(dim, processing_steps=5)
        self.poi_side.linear1 = nn.Linear(2 * dim, 256)
        self.poi_side.projector = nn.Sequential(nn.ReLU(), nn.Linear(256, 128))

        self._table = torch.tensor(table)
        self._temperature, self._image_weight = temperature, image_weight
        parameters = [
            *self.image_side.parameters(),
            *self.poi_side.parameters(),
        ]
        self._optimiser = torch.optim.Adam(parameters, lr=rate)

    def losses(self, views, category, mask):
        """Inter- and intra-modal loss; views [2 b s s 3], category and mask [b n]."""
        views = torch.tensor(np.array(views).transpose(0, 1, 4, 2, 3))
        mask = torch.tensor(np.array(mask))
        z_1, z_2 = [self.image_side.encoder(view) for view in views]
        x = self._table[torch.tensor(np.array(category))[mask]]
        index = torch.arange(len(mask)).repeat_interleave(mask.sum(dim=1))
        pooled = self.poi_side.set2set(x, index)
        z_poi = self.poi_side.projector(self.poi_side.linear1(pooled))
        return (
            nt_xent(z_1, z_poi, self._temperature),
            nt_xent(z_1, z_2, self._temperature),
        )

    def step(self, views, category, mask):
        """One step of Adam; returns the losses before it."""
        inter, intra = self.losses(views, category, mask)
        loss = (1 - self._image_weight) * inter + self._image_weight * intra
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return inter.item(), intra.item()


def nt_xent(z_a, z_b, temperature):
    """Mean cross-entropy of each row's partner among all other rows of both sides."""
    b = len(z_a)
    z = nn.functional.normalize(torch.cat([z_a, z_b]))
    logits = z @ z.T / temperature
    logits = logits.masked_fill(torch.eye(2 * b).bool(), -torch.inf)
    return nn.functional.cross_entropy(logits, torch.arange(2 * b).roll(b))


def arrays(module):
    """A module's state dict as NumPy arrays."""
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}
