"""Writes tests/networks/keras_cnn.onnx: a small network of Keras as tf2onnx exports it, with random weights and statistics.

The file was made with Python 3.11, tensorflow-cpu 2.21.0, Keras 3.15.1, tf2onnx 1.17.0 and onnx 1.23.2, which no check of this
repository installs: `pip install tensorflow-cpu tf2onnx`, then `python tests/python/keras_cnn.py tests/networks/keras_cnn.onnx`.
"""

import sys

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers


def network():
    """Channels last, paddings that TensorFlow puts on one side, normalisations with and without a convolution's bias."""
    return keras.Sequential([
        keras.Input((33, 30, 3)),
        layers.Conv2D(12, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(max_value=6.0),
        layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(20, 1, padding="same"),
        layers.BatchNormalization(),
        layers.Activation("swish"),
        layers.SeparableConv2D(24, 5, padding="same", activation="elu"),
        layers.MaxPooling2D(2, padding="same"),
        layers.Conv2D(16, 3, padding="valid"),
        layers.LeakyReLU(negative_slope=0.1),
        layers.Flatten(),
        layers.Dense(10),
    ])


def main(file):
    """Runs the program."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    model = network()
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            scale, shift, mean, variance = (weight.shape for weight in layer.weights)
            layer.set_weights([
                random.uniform(0.5, 1.5, scale),
                random.normal(0, 0.3, shift),
                random.normal(0, 0.3, mean),
                random.uniform(0.3, 2, variance),
            ])
    call = tf.function(lambda image: model(image, training=False))
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]
    tf2onnx.convert.from_function(call, input_signature=signature, opset=17, output_path=file)


if __name__ == "__main__":
    main(*sys.argv[1:])
