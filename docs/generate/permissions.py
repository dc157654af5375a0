# SPDX-License-Identifier: Apache-2.0
"""docs/reference/permissions.md: who may do what, from the very rules that are installed."""

from pathlib import Path

_RULES = Path(__file__).parents[2] / "charts" / "watchword" / "files" / "rules"
_HEAD = """\
# Permissions

Generated from the rules of the chart (`make generate`).

## Of people

Kubernetes' own roles are extended (`rbac.aggregate` in the chart's values; ClusterRoles `watchword-view`,
`watchword-edit` and `watchword-admin`):

| role | may |
|---|---|
| `view` | read ProtectedServices and TrustedWorkloads |
| `admin` of a namespace | change them there |
| `edit` of a namespace | the same, only with `rbac.editGrantsAccess` |
| cluster admins | change ClusterTrustedIssuers, and nobody else |

**Whoever may change a TrustedWorkload lets callers into its service.** That is why `edit` does not include
it unless you say so. A ProtectedService decides as much: its audiences and routes. Whoever may change a
ClusterTrustedIssuer, or the ConfigMap that one takes its keys from, decides whose word counts in the whole
cluster.

## Of the operator

A test runs the operator under exactly these rules through the life of an installation, and reads in the API
server's audit log that nothing was denied and that no right went unused.

In the whole cluster (ClusterRole):

```yaml
{cluster}
```

In its own namespace (Role):

```yaml
{namespaced}
```

What follows from them:

- It reads no Secret but in its own namespace, each by its name. For an issuer whose `credentialSecretRef` is
  in another namespace, bind a Role there that grants `get` on that one Secret.
- It can write ConfigMaps, Roles, RoleBindings and NetworkPolicies in every namespace, since services may be
  in any. It never takes over one that it did not make, and can grant no more than it has.
- It deletes nothing but its own NetworkPolicies. The rest goes with the ProtectedService that owns it.

## Of a gate

Each ProtectedService has a Role that lets the ServiceAccount of its pods (`spec.serviceAccountName`) read the
one ConfigMap that holds its bundle, and nothing else. Without it the gate runs on the mounted file.
"""


def page() -> str:
    """The page's text."""
    rules = {part: _rules(f"operator-{part}.yaml") for part in ("cluster", "namespaced")}
    return _HEAD.replace("{cluster}", rules["cluster"]).replace("{namespaced}", rules["namespaced"])


def _rules(name: str) -> str:
    lines = (_RULES / name).read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("# SPDX"))
