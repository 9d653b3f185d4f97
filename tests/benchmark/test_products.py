from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from memorysam.benchmark.plan import our_inference, plain_inference
from memorysam.benchmark.products import Product, as_type, collect, flops, run_alone, ways
from memorysam.benchmark.share import encoder_products, encoder_share

CPU = torch.device("cpu")


def test_all_linear_layers_of_the_encoder_are_collected(parts):
    model, images, _ = parts(options={"lora_rank": 0})
    call = plain_inference(model, images)
    called = Counter()

    def note(layer, given, _):
        called[given[0].numel() // layer.in_features, layer.in_features, layer.out_features] += 1

    encoder = call.model.parts.vision_encoder
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(note)
    name, image = next(iter(images.items()))
    found = collect(lambda: call.model.encode(name, image))
    linear = Counter({product.sizes: times for product, times in found.items() if product.kind == "linear"})
    assert sum(called.values()) == sum(isinstance(layer, nn.Linear) for layer in encoder.modules()) > 20
    assert called <= linear  # what is more are 1x1 convolutions
    assert sum(times for product, times in found.items() if product.kind == "attention") == len(encoder.backbone.blocks)
    assert [product.sizes[4:8] for product in found if product.kind == "convolution"] == [(32, 3, 7, 7)]


def test_ours_does_the_same_work_whichever_way_it_goes_about_it(parts):
    model, images, _ = parts()
    ours = our_inference(model, images, "fp32")
    found, source = encoder_products(lambda: ours.model.encode(images), plain_inference(model, images), "fp32")
    assert source == "ours"
    attended = Counter()
    for product, times in found.items():
        attended[product.kind] += times
    assert attended["attention"] == len(ours.model.sam2.vision_encoder.backbone.blocks)


def test_where_ours_hides_its_products_those_of_the_baseline_count(parts):
    model, images, _ = parts()
    found, source = encoder_products(lambda: None, plain_inference(model, images), "bf16")
    assert source == "the baseline"
    assert flops(found) > 0
    assert {product.dtype for product in found} == {torch.bfloat16}


def test_operations_are_those_that_pytorch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    x, image = torch.randn(6, 8), torch.randn(2, 3, 9, 10)

    def call():
        F.linear(x, torch.randn(5, 8), torch.randn(5))
        F.conv2d(image, torch.randn(4, 3, 3, 5), torch.randn(4), stride=(2, 1), padding=(1, 2))
        F.conv2d(image, torch.randn(4, 3, 1, 1))
        torch.bmm(torch.randn(2, 3, 4), torch.randn(2, 4, 5))

    with FlopCounterMode(display=False) as counter:
        call()
    found = collect(call)
    assert flops(found) == counter.get_total_flops()
    assert Counter(product.kind for product in found) == {"linear": 2, "convolution": 1, "batched": 1}
    attention = collect(lambda: F.scaled_dot_product_attention(*(torch.randn(2, 3, n, 8) for n in (5, 7, 7))))
    assert attention == {Product("attention", (2, 3, 5, 7, 8, 8), torch.float32): 1}
    assert flops(attention) == 2 * 6 * 5 * 7 * (8 + 8)


@pytest.mark.parametrize(("queries", "keys", "width"), [(6, 7, 8), (8, 8, 8)])
def test_two_products_of_one_attention_are_attention(queries, keys, width):
    q, k = torch.randn(3, queries, width), torch.randn(3, keys, width)
    found = collect(lambda: torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1), k))
    expected = Product("attention", (1, 3, queries, keys, width, width), torch.float32)
    assert found == {expected: 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_ways_for_a_product_compute_the_same_shape(dtype):
    for product, shape in [
        (Product("linear", (6, 8, 5), dtype), (6, 5)),
        (Product("batched", (2, 3, 4, 5), dtype), (2, 3, 5)),
        (Product("attention", (2, 3, 7, 9, 8, 8), dtype), (2, 3, 7, 8)),
        (Product("convolution", (2, 3, 9, 9, 4, 3, 3, 3, 2, 2, 1, 1, 1, 1, 1), dtype), (2, 4, 5, 5)),
    ]:
        for call in ways(product, CPU).values():
            result = call()
            assert result.dtype == dtype
            sizes = tuple(result.shape)
            assert sizes == shape or (sizes[0], sizes[2] * sizes[3], sizes[1]) == (1, *shape)


def test_seconds_of_products_are_per_call(parts):
    products = Counter({Product("linear", (64, 32, 16), torch.float32): 3})
    (timed,) = run_alone(products, CPU)
    assert timed.times == 3
    assert timed.seconds > 0
    assert timed.as_dict()["flops_per_s"] == pytest.approx(2 * 64 * 32 * 16 / timed.seconds)
    assert as_type(products, torch.bfloat16) == {Product("linear", (64, 32, 16), torch.bfloat16): 3}


def test_the_share_is_the_encoders_time_to_that_of_its_products(parts):
    model, images, _ = parts()
    found = encoder_share(our_inference(model, images, "fp32"), plain_inference(model, images), 1, CPU)
    assert found["ratio"] == pytest.approx(found["seconds"]["median"] / found["limit_seconds"])
    assert found["limit_seconds"] == pytest.approx(sum(p["times"] * p["seconds"] for p in found["products"]))
    assert found["flops"] > 0
