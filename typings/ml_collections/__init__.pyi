# What ml_collections declares of ConfigDict says less than it does: keys are attributes
# of any type, which its own annotations do not tell.
from ml_collections import config_dict as config_dict
from ml_collections import config_flags as config_flags
from ml_collections.config_dict import ConfigDict as ConfigDict
from ml_collections.config_dict import FieldReference as FieldReference
