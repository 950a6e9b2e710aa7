"""Make ``openl3.npz``: what the original openl3 computes with weights drawn here, for tests/test_nets.py.

Needs openl3 0.4.2 with TensorFlow and kapre (its weight files may be empty placeholders; none is read)::

    python tests/reference/make_openl3.py

The generator is NumPy's frozen ``RandomState``, so the test draws the same weights without TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

WIDTHS = (1, 64, 64, 128, 128, 256, 256, 512, 512)
#: Every how many frames the spectrogram is kept.
STEP = 9


def draw_weights() -> list[dict[str, np.ndarray]]:
    """Weights of the layers in the order of the graph, by Keras' names; kernels are (height, width, in, out)."""
    random = np.random.RandomState(20250406)

    def norm(width):
        return {
            "gamma": random.uniform(0.5, 1.5, width),
            "beta": random.normal(0, 0.1, width),
            "moving_mean": random.normal(0, 0.1, width),
            "moving_variance": random.uniform(0.5, 2, width),
        }

    layers = [norm(1) | {"moving_mean": np.array([-40.0]), "moving_variance": np.array([400.0])}]
    for i in range(8):
        fan_in = 9 * WIDTHS[i]
        kernel = random.normal(0, np.sqrt(2 / fan_in), (3, 3, WIDTHS[i], WIDTHS[i + 1]))
        layers.append({"kernel": kernel, "bias": random.normal(0, 0.05, WIDTHS[i + 1])})
        if i < 7:
            layers.append(norm(WIDTHS[i + 1]))
    return [{name: array.astype(np.float32) for name, array in layer.items()} for layer in layers]


def draw_windows() -> np.ndarray:
    """Three windows of 1 s at 48 kHz: a decaying tone over noise, noise, silence before a square wave."""
    random = np.random.RandomState(7)
    t = np.arange(48_000) / 48_000
    tone = 0.3 * np.sin(2 * np.pi * 440 * t) * np.exp(-3 * t) + 0.01 * random.normal(size=t.size)
    noise = 0.1 * random.normal(size=t.size)
    late = np.where(
        t < 0.5, 0, 0.2 * np.sign(np.sin(2 * np.pi * 220 * t)) + 0.001 * random.normal(size=t.size)
    )
    return np.stack([tone, noise, late]).astype(np.float32)


def main() -> None:
    import tensorflow as tf
    from openl3 import models

    windows = draw_windows()[:, None]
    found = {}
    for input_repr, sizes in (("mel128", (512, 6144)), ("mel256", (512,))):
        model = models.AUDIO_MODELS[input_repr]()
        layers = [layer for layer in model.layers if layer.get_weights()]
        for layer, arrays in zip(layers, draw_weights(), strict=True):
            layer.set_weights(list(arrays.values()))
        front = tf.keras.Model(model.inputs, model.layers[1].output)
        found[f"{input_repr}_decibels"] = front.predict(windows)[:, :, ::STEP, 0]
        for size in sizes:
            pool = models.AUDIO_POOLING_SIZES[input_repr][size]
            pooled = tf.keras.layers.MaxPooling2D(pool, padding="same")(model.output)
            embedding = tf.keras.Model(model.inputs, tf.keras.layers.Flatten()(pooled))
            found[f"{input_repr}_{size}"] = embedding.predict(windows if size == 512 else windows[:1])
    np.savez_compressed(Path(__file__).with_name("openl3.npz"), **found)


if __name__ == "__main__":
    main()
