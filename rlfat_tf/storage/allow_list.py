"""What the configuration of a saved model may name: nothing that is not listed here.

Keras finds the objects of a configuration by name and calls them. So this is the list of the names
that compute and do nothing else. What runs code of the file (``Lambda``), loads a program
(``TFSMLayer``), reads other files (``StringLookup``, ``TextVectorization``) or is no part of an
image classifier is not on it. ``tests/storage/test_allow_list.py`` fails when a Keras has a layer
that is neither listed nor refused there.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from rlfat_tf.core.compat import keras

LAYERS = frozenset(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop
    Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D
    Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU
    EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention
    GroupedQueryAttention HashedCrossing Hashing Identity InputLayer LSTM LSTMCell
    LayerNormalization LeakyReLU LocallyConnected1D LocallyConnected2D Masking MaxNumBoundingBoxes
    MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MixUp MultiHeadAttention Multiply
    Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
    RandomErasing RandomFlip RandomFourierFeatures RandomGaussianBlur RandomGrayscale RandomHeight
    RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation
    RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom ReLU RepeatVector
    Rescaling Reshape Resizing ReversibleEmbedding SeparableConv1D SeparableConv2D SimpleRNN
    SimpleRNNCell Softmax Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpectralNormalization StackedRNNCells Subtract SyncBatchNormalization ThresholdedReLU
    TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D
    ZeroPadding2D ZeroPadding3D
    CustomScaleLayer LayerScale
    """.split()
)
CLASSES = LAYERS | frozenset(
    """
    Functional Model Sequential

    DTypePolicy DTypePolicyMap FloatDTypePolicy Policy QuantizedDTypePolicy
    QuantizedFloat8DTypePolicy AbsMaxQuantizer Float8QuantizationConfig Int4QuantizationConfig
    Int8QuantizationConfig SeedGenerator

    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal
    LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal
    VarianceScaling Zeros

    L1 L1L2 L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm

    Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer
    LossScaleOptimizerV3 Muon Nadam RMSprop SGD ScheduleFreeAdamW CosineDecay CosineDecayRestarts
    ExponentialDecay InverseTimeDecay PiecewiseConstantDecay PolynomialDecay

    BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy
    CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
    CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError
    MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
    SparseCategoricalCrossentropy SquaredHinge Tversky

    AUC Accuracy BinaryAccuracy BinaryIoU CategoricalAccuracy ConcordanceCorrelation F1Score
    FBetaScore FalseNegatives FalsePositives IoU LogCoshError Mean MeanIoU MeanMetricWrapper
    MeanRelativeError MeanTensor OneHotIoU OneHotMeanIoU PearsonCorrelation Precision
    PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
    SensitivityAtSpecificity SparseCategoricalAccuracy SparseTopKCategoricalAccuracy
    SpecificityAtSensitivity Sum TopKCategoricalAccuracy TrueNegatives TruePositives
    """.split()
)
FUNCTIONS = frozenset(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
    softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold

    constant glorot_normal glorot_uniform he_normal he_uniform identity lecun_normal lecun_uniform
    gaussian laplacian one ones orthogonal random_normal random_uniform truncated_normal
    variance_scaling zero zeros
    normal uniform l1 l1_l2 l2 orthogonal_regularizer max_norm min_max_norm non_neg
    radial_constraint unit_norm

    binary_crossentropy binary_focal_crossentropy categorical_crossentropy
    categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge circle
    cosine_similarity ctc dice hinge huber kl_divergence kld kullback_leibler_divergence log_cosh
    logcosh mae mape mean_absolute_error mean_absolute_percentage_error mean_squared_error
    mean_squared_logarithmic_error mse msle poisson sparse_categorical_crossentropy squared_hinge
    tversky bce

    acc accuracy binary_accuracy categorical_accuracy ce concordance_correlation crossentropy
    pearson_correlation sparse_categorical_accuracy sparse_top_k_categorical_accuracy
    top_k_categorical_accuracy
    """.split()
)
# Plain values that Keras writes as objects; those that tell an array have a "dtype" to check.
VALUES = frozenset(
    ["__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__", "__bytes__"]
)
NUMBERS = re.compile(r"bool|u?int(8|16|32|64)|b?float(16|32|64)|complex(64|128)")
# Keras 2's own EfficientNetV2 has initializers of TensorFlow.
_PLACES = re.compile(
    r"tensorflow\.python\.ops\.init_ops_v2|keras(\.src)?(\.(activations|applications|constraints|dtype_policies|engine|initializers|"
    r"layers|losses|metrics|mixed_precision|models|optimizers|quantizers|random|regularizers)"
    r"(\.\w+)*)?"
)
# Keras 3 keeps operations on tensors as layers. Those of `core` that take functions are left out.
_OPERATIONS = re.compile(r"keras\.src\.ops\.(numpy|nn|math|image|linalg)")
_CORE_OPERATIONS = frozenset(
    "Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient "
    "Unstack".split()
)
# Keras 2 keeps TensorFlow functions as layers.
TENSORFLOW_FUNCTION = ("TFOpLambda", "SlicingOpLambda")
_COMPUTING_MODULES = ("__operators__", "bitwise", "image", "linalg", "math", "nn", "signal")
_COMPUTING = frozenset(
    "argsort boolean_mask broadcast_to cast clip_by_value concat convert_to_tensor einsum "
    "expand_dims eye fill gather gather_nd identity linspace meshgrid norm one_hot ones ones_like "
    "pad range rank repeat reshape reverse roll shape size slice sort split squeeze stack "
    "stop_gradient strided_slice tensordot tile transpose unstack where zeros zeros_like".split()
)


def registered(name: Any) -> Any:
    """Returns the class or function that this process has registered under a name, or None."""
    return keras.saving.get_registered_object(name) if isinstance(name, str) else None


def is_custom(entry: dict[str, Any]) -> bool:
    """Tells whether an object's class was registered in this process, and not by Keras.

    An entry without a module is found by Keras under its class's name, any other under the name
    that it was registered by.
    """
    name = entry.get("class_name")
    found = registered(entry.get("registered_name", name) if "module" in entry else name)
    if found is None or _is_of_keras(found):
        return False
    # Keras looks at these names before it looks for what is registered.
    return name == found.__name__ or registered(name) is found


def allows(entry: dict[str, Any]) -> bool:
    """Tells whether an object of a configuration, with its ``class_name``, may be made."""
    name, module = entry.get("class_name"), entry.get("module")
    if not isinstance(name, str) or not isinstance(module, (str, type(None))):
        return False
    if name == "function":
        return _allows_function(entry.get("config"), entry)
    if name in VALUES:
        return True
    if is_custom(entry):
        return True
    if entry.get("registered_name") not in (None, name, f"Custom>{name}"):
        return False  # Keras 2 looks in the module for this name too
    if module is not None and module.startswith("keras.src.ops."):
        return _is_operation(module, name)
    if module not in (None, "builtins") and not _PLACES.fullmatch(module):
        return False
    if name in TENSORFLOW_FUNCTION:
        settings = entry.get("config")
        return _computes(settings.get("function") if isinstance(settings, dict) else None)
    return name in CLASSES


def allows_name(name: str) -> bool:
    """Tells whether a string may stand where Keras expects a function, a loss, a metric ..."""
    known = name in FUNCTIONS or name in CLASSES or name.lower() in _LOWER
    return known or _is_foreign(registered(name))


_LOWER = frozenset(name.lower() for name in CLASSES)


def _allows_function(name: Any, entry: dict[str, Any]) -> bool:
    if not isinstance(name, str):
        return False
    if _is_foreign(registered(name)):
        return True
    if entry.get("registered_name") not in (None, "function", name):
        return False
    module = entry.get("module")
    return name in FUNCTIONS and (module in (None, "builtins") or bool(_PLACES.fullmatch(module)))


def _is_operation(module: str, name: str) -> bool:
    if not _OPERATIONS.fullmatch(module):
        return module == "keras.src.ops.core" and name in _CORE_OPERATIONS
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and found.__module__ == module


def _computes(function: Any) -> bool:
    """Tells whether a function of TensorFlow, by its name, computes and does nothing else."""
    path = re.sub(r"^compat\.v[12]\.", "", str(function))
    module, _, name = path.rpartition(".")
    return module.split(".")[0] in _COMPUTING_MODULES if module else name in _COMPUTING


def _is_of_keras(found: Any) -> bool:
    return str(getattr(found, "__module__", "")).split(".")[0] == "keras"


def _is_foreign(found: Any) -> bool:
    return found is not None and not _is_of_keras(found)
