{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "watchword.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "watchword.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "watchword.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "watchword.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Labels that select pods; they never change. Call with (list $ "operator"). */ -}}
{{- define "watchword.selector" -}}
app.kubernetes.io/name: {{ include "watchword.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- /* Metadata of an object: (list $ component name). A fourth is its namespace, "" of cluster-scoped objects; a
       fifth is a dict of `labels` and `annotations` of its own, which win over the common ones. */ -}}
{{- define "watchword.metadata" -}}
{{- $root := index . 0 -}}
{{- $namespace := $root.Release.Namespace -}}
{{- $own := dict -}}
{{- if gt (len .) 3 }}{{ $namespace = index . 3 }}{{ end -}}
{{- if gt (len .) 4 }}{{ $own = index . 4 }}{{ end -}}
name: {{ index . 2 }}
{{- with $namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "watchword.labels" (list $root (index . 1)) | nindent 2 }}
  {{- with $own.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) $own.annotations) (default (dict) $root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "watchword.labels" -}}
{{- $root := index . 0 -}}
{{ include "watchword.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: watchword
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* An image's whole name: (list $ .Values.image). */ -}}
{{- define "watchword.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* Set each value that is missing to its default: with `helm upgrade --reuse-values` the values are the older
chart's, and what that one did not know is not there. Every template begins with it. */ -}}
{{- define "watchword.complete" -}}
{{- include "watchword.fill" (list .Values (.Files.Get "files/defaults.yaml" | fromYaml)) -}}
{{- end -}}

{{- /* (list given defaults). What people fill in freely is taken whole: a member that they removed stays away. */ -}}
{{- define "watchword.fill" -}}
{{- $given := index . 0 -}}
{{- range $key, $default := index . 1 -}}
{{- if or (not (hasKey $given $key)) (kindIs "invalid" (get $given $key)) -}}
{{- $_ := set $given $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (get $given $key)) (not (has $key (list "resources" "nodeSelector"))) -}}
{{- include "watchword.fill" (list (get $given $key) $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* User and group of a pod or container: the value pods.runAsUser. Numbers of a values file are floats to Helm. */ -}}
{{- define "watchword.runAs" -}}
{{- if ne (toString .) "" -}}
runAsGroup: {{ int64 . }}
runAsUser: {{ int64 . }}
{{ end -}}
runAsNonRoot: true
{{- end -}}

{{- define "watchword.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
{{ include "watchword.runAs" .Values.pods.runAsUser }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* What operator and webhook pods have in common: (list $ component). */ -}}
{{- define "watchword.podCommon" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $pods := $root.Values.pods -}}
automountServiceAccountToken: true
enableServiceLinks: false
securityContext:
  {{- if ne (toString $pods.runAsUser) "" }}
  fsGroup: {{ int64 $pods.runAsUser }}
  {{- end }}
  {{- include "watchword.runAs" $pods.runAsUser | nindent 2 }}
  seccompProfile: {type: RuntimeDefault}
terminationGracePeriodSeconds: 30
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pods.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.spreadOver }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "watchword.selector" (list $root $component) | nindent 8 }}
{{- end }}
{{- end -}}
