"""One step of MMGR against the released model, written in PyTorch; its counts."""

import jax
import numpy as np
from oracles import import_oracle, import_torchvision
from small_model import LENGTHS, B, D, K, batch, build, shapes_of

from mmgr_jax.losses import mmgr_loss
from mmgr_jax.models import resnet, weights

STAGES = (1, 1)  # two blocks: test_resnet.py has the depth


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_counts_are_those_of_the_released_model():
    params = shapes_of(build({"name": "resnet50"}))["params"]
    image_side = count(params["image_encoder"]) + count(params["image_head"])
    assert image_side == 27_966_656
    # Ours beyond the released 115,584: the table, and one vector for the empty set.
    poi_side = count(params["poi_encoder"]) + count(params["poi_head"])
    assert poi_side == 115_584 + K * D + 2 * D
    assert params["poi_encoder"]["table"]["category_vectors"].shape == (K, D)
    assert params["poi_encoder"]["empty_set"].shape == (2 * D,)


def released_model(table):
    """The released architecture and names, with a ResNet of two stages for speed."""
    torch = import_oracle("torch")
    aggr = import_oracle("torch_geometric.nn.aggr")
    nn = torch.nn
    torch.manual_seed(0)

    image_side = nn.Module()
    tv_resnet = import_torchvision().models.resnet
    image_side.encoder = tv_resnet.ResNet(tv_resnet.BasicBlock, (*STAGES, 1, 1))
    image_side.encoder.layer3 = image_side.encoder.layer4 = nn.Identity()
    image_side.encoder.fc = nn.Sequential(
        nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128)
    )
    poi_side = nn.Module()
    poi_side.set2set = aggr.Set2Set(D, processing_steps=5)
    poi_side.linear1 = nn.Linear(2 * D, 256)
    poi_side.projector = nn.Sequential(nn.ReLU(), nn.Linear(256, 128))

    def forward(views, category, mask):
        z_image = [image_side.encoder(view) for view in views]
        x = torch.tensor(table)[category[mask]]
        index = torch.arange(B).repeat_interleave(torch.tensor(LENGTHS))
        z_poi = poi_side.projector(poi_side.linear1(poi_side.set2set(x, index)))
        return z_image, z_poi

    return image_side, poi_side, forward


def torch_nt_xent(z_a, z_b, temperature):
    torch = import_oracle("torch")
    z = torch.nn.functional.normalize(torch.cat([z_a, z_b]))
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * B).bool(), -torch.inf)
    target = torch.arange(2 * B).roll(B)
    return torch.nn.functional.cross_entropy(logits, target)


def released_state(module):
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def test_step_equals_the_released_model():
    """Loss, running statistics of two passes and head gradients, weights by name."""
    torch = import_oracle("torch")
    table = np.random.default_rng(1).normal(size=(K, D)).astype(np.float32)
    image_side, poi_side, forward = released_model(table)
    model = build(category_vectors=table).clone(image_encoder=resnet.ResNet(STAGES))
    like = shapes_of(model)
    image_like = {
        "params": {k: like["params"][k] for k in ("image_encoder", "image_head")},
        "batch_stats": like["batch_stats"],
    }
    poi_like = {"params": {k: like["params"][k] for k in ("poi_encoder", "poi_head")}}
    poi_like["params"]["poi_encoder"] |= {
        "table": {"category_vectors": table},
        "empty_set": np.zeros(2 * D, np.float32),
    }
    image = weights.from_torch(
        released_state(image_side), image_like, rename=weights.RELEASED_IMAGE
    )
    poi = weights.from_torch(
        released_state(poi_side),
        poi_like,
        rename=weights.RELEASED_POI,
        keep=weights.NOT_RELEASED,
    )
    views, pois = batch()

    def loss(params):
        outputs, updates = model.apply(
            {"params": params, "batch_stats": image["batch_stats"]},
            views,
            pois,
            train=True,
            mutable=["batch_stats"],
        )
        total, _ = mmgr_loss(
            outputs["z_image"], outputs["z_poi"], temperature=0.5, image_weight=0.5
        )
        return total, updates

    params = image["params"] | poi["params"]
    (value, updates), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    t_views = torch.tensor(np.array(views).transpose(0, 1, 4, 2, 3))
    z_image, z_poi = forward(
        t_views,
        torch.tensor(np.array(pois.category)),
        torch.tensor(np.array(pois.mask)),
    )
    t_value = 0.5 * torch_nt_xent(z_image[0], z_poi, 0.5) + 0.5 * torch_nt_xent(
        z_image[0], z_image[1], 0.5
    )
    t_value.backward()
    np.testing.assert_allclose(value, t_value.detach(), rtol=1e-5)

    stats = weights.to_torch(updates, rename=weights.RELEASED_IMAGE)
    for name, buffer in image_side.named_buffers():
        if "num_batches" not in name:
            assert_close(stats[name], buffer, 1e-4)
    ours = weights.to_torch({"params": grads}, rename=weights.RELEASED_POI)
    for name, parameter in poi_side.named_parameters():
        assert_close(ours[name], parameter.grad, 1e-3)
    ours = weights.to_torch({"params": grads}, rename=weights.RELEASED_IMAGE)
    for name, parameter in image_side.encoder.fc.named_parameters():
        assert_close(ours[f"encoder.fc.{name}"], parameter.grad, 1e-3)


def assert_close(ours, theirs, close):
    """Within `close` of the largest value."""
    theirs = theirs.detach().numpy()
    assert np.max(np.abs(ours - theirs)) <= close * np.max(np.abs(theirs)) + 1e-9
