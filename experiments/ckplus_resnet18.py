"""CK+ in seven classes by the ResNet18 of the public baseline, in ten subject-disjoint folds.

Source: WuJie1010/Facial-Expression-Recognition.Pytorch: last three frames of each sequence at
44x44x3, 60 epochs of 32, learning rate .01, times .8 every epoch from the 20th on. It states
94.040 %, by folds in which 46 to 85 % of the tested people are trained on too (docs/data.md); here
nobody is on both sides, each fold's epoch is chosen on the next fold, and the tested fold is read
once.
What else differs: a cosine in place of the steps; decoupled weight decay; pictures are resized to
44 pixels and shifted by up to a tenth, where the source cuts a random 44 of 48.
Command: python -m fer_keras.train --exp ckplus_resnet18
"""

from fer_keras.config import NetworkConfig, based_on

experiment = based_on(
    "ckplus_vgg19",
    name="ckplus_resnet18",
    network=NetworkConfig("resnet18", {"pooling": "valid4"}),
)
