"""Feature networks of the metrics. `gan_jax.metrics.features.load_features` loads their weights.

`small_conv` was trained for this package. The others are tables of `steps` for published weights:
`inception_v3` (the one of FID), `mobilenet` (MobileNetV2, EfficientNet-Lite0) and `perceptual` (LPIPS over AlexNet and
VGG16, a metric and a loss).
"""
