"""FER2013 by the ResNet18 of the public baseline, trained from scratch.

Source: WuJie1010/Facial-Expression-Recognition.Pytorch (ResNet18, 44x44x3, 250 epochs of 128), with
its pooling of the first 4x4 positions of the last 6x6 map.
What differs from it:
- Pictures are resized to 44 pixels and shifted by up to a tenth with a little brightness and
  contrast (`light`); the source cuts a random 44 of the 48 pixels. Both mirror.
- The learning rate falls by a cosine; the source keeps .01 to epoch 80, then takes .9 of it every
  5 epochs, to .0003.
- Weight decay is decoupled and leaves out biases and batch normalisation. The source adds
  5e-4 * weights to the gradient before a momentum of .9, which adds up to 5e-4 / (1 - .9) = 5e-3.
- The kept epoch is chosen on PublicTest; the source chose it on PrivateTest, its test split.
The source tests with ten crops of 48-pixel pictures: `python -m fer_keras.evaluate RUN
--split test --ten-crop 48`. Faces are then 48 / 44 times as large as in training.
Command: python -m fer_keras.train --exp fer2013_resnet18
"""

from fer_keras.config import NetworkConfig, based_on

experiment = based_on(
    "fer2013_vgg19",
    name="fer2013_resnet18",
    network=NetworkConfig("resnet18", {"pooling": "valid4"}),
)
