# SPDX-License-Identifier: Apache-2.0
"""`watchword routes`: a first draft of a service's routes from its OpenAPI document."""
