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
| cluster admins | change ClusterTrustedIssuers, and no one else |

**Anyone who may change a TrustedWorkload lets callers into its service.** That is why `edit` does not include
it unless you say so. A ProtectedService decides as much: its audiences and routes. Anyone who may change a
ClusterTrustedIssuer, or the ConfigMap that one takes its keys from, decides whose tokens are believed in
the whole cluster.

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
- RBAC lets it write ConfigMaps, Roles, RoleBindings and NetworkPolicies in every namespace, since services
  may be in any. The admission policy `operator.watchword.dev` bounds that to what it makes: names and labels
  of a service, the owner reference of its ProtectedService, the entries of a bundle, a Role that reads the
  bundle and the revocations next to it, and a RoleBinding of that Role to ServiceAccounts of the namespace.
  Anyone who may impersonate it, or run pods in its namespace, is the operator.
- It deletes nothing but its own NetworkPolicies. The rest goes with the ProtectedService that owns it.

Where there is a token desk (`desk.enabled`), besides, in the whole cluster (ClusterRole):

```yaml
{desk_cluster}
```

And in the desk's namespace (Role), where it keeps the signing keys:

```yaml
{desk_keys}
```

## Of a desk

In its own namespace (Role):

```yaml
{desk}
```

In the whole cluster (ClusterRole):

```yaml
{desk_reads}
```

Anyone who may read Secrets of that namespace can sign what a desk signs.

## Of those who write bundles

The admission policy `bundles.watchword.dev` asks the authorizer, for each ConfigMap that is named
`watchword-bundle-…`, `watchword-deskbundle-…` or `watchword-revocations-…`, whether its writer may `create`,
`update` or `delete` the resource `bundles` of the group `watchword.dev` in that namespace. No API serves that
resource; RBAC alone knows it.

| who | by |
|---|---|
| the operator | ClusterRole `watchword-bundle-writer` |
| garbage collector, namespace controller | roles of Kubernetes, and ClusterRole `watchword-bundle-cleaner` |
| cluster admins | `cluster-admin` |
| `view`, `edit` and `admin` of a namespace | not at all |

## Of a gate

Each ProtectedService has a Role that lets the ServiceAccount of its pods (`spec.serviceAccountName`) read the
one ConfigMap that holds its bundle, and where it names a desk `watchword-revocations-…`, and nothing else.
Without it the gate runs on the mounted file.
"""


def page() -> str:
    """The page's text."""
    rules = {part: _rules(f"operator-{part}.yaml") for part in ("cluster", "namespaced")}
    rules |= {"desk_cluster": _rules("operator-desk-cluster.yaml"), "desk": _rules("desk.yaml")}
    rules["desk_reads"] = _rules("desk-cluster.yaml")
    rules["desk_keys"] = _rules("operator-desk.yaml")
    page = _HEAD
    for part, text in rules.items():
        page = page.replace(f"{{{part}}}", text)
    return page


def _rules(name: str) -> str:
    lines = (_RULES / name).read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("# SPDX"))
