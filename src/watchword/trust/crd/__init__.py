# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinitions, made from the types of the resources."""
