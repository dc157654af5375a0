{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- /* The gate as a native sidecar, for spec.initContainers: dict root, service, port, upstreamPort, image; opsPort, listenHost, runAsUser ("" leaves it out), resources, logLevel, imagePullPolicy. */ -}}
{{- define "watchword.gate.container" -}}
{{- $ops := default 9090 .opsPort -}}
{{- $host := default "[::]" .listenHost -}}
{{- $user := hasKey . "runAsUser" | ternary .runAsUser 65532 -}}
- name: watchword-gate
  image: {{ required "watchword.gate.container: image is missing" .image | quote }}
  imagePullPolicy: {{ default "IfNotPresent" .imagePullPolicy }}
  restartPolicy: Always
  args:
    - sidecar
    - --bundle=/var/run/watchword/bundle/bundle.json
    - --watch={{ .root.Release.Namespace }}/watchword-bundle-{{ required "watchword.gate.container: service is missing" .service }}
    - --listen={{ $host }}:{{ required "watchword.gate.container: port is missing" .port }}
    - --ops-listen={{ $host }}:{{ $ops }}
    - --usage-dsn=sqlite:////var/run/watchword/usage/usage.db
    - --log-level={{ default "info" .logLevel }}
    {{- if .upstreamPort }}
    - --upstream=http://127.0.0.1:{{ .upstreamPort }}
    {{- end }}
  ports:
    - {name: watchword-gate, containerPort: {{ .port }}, protocol: TCP}
    - {name: watchword-ops, containerPort: {{ $ops }}, protocol: TCP}
  startupProbe:
    httpGet: {path: /healthz, port: {{ $ops }}, scheme: HTTP}
    timeoutSeconds: 3
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet: {path: /healthz, port: {{ $ops }}, scheme: HTTP}
    timeoutSeconds: 3
    periodSeconds: 10
    failureThreshold: 6
  readinessProbe:
    httpGet: {path: /readyz, port: {{ $ops }}, scheme: HTTP}
    timeoutSeconds: 3
    periodSeconds: 5
    failureThreshold: 2
  lifecycle:
    preStop: {exec: {command: [/usr/bin/watchword, drain]}}
  resources:
    {{- if .resources }}
    {{- toYaml .resources | nindent 4 }}
    {{- else }}
    requests: {cpu: 10m, memory: 64Mi}
    limits: {memory: 144Mi}
    {{- end }}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
    privileged: false
    readOnlyRootFilesystem: true
    {{- if ne (toString $user) "" }}
    runAsGroup: {{ int64 $user }}
    {{- end }}
    runAsNonRoot: true
    {{- if ne (toString $user) "" }}
    runAsUser: {{ int64 $user }}
    {{- end }}
    seccompProfile: {type: RuntimeDefault}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - {name: watchword-bundle, mountPath: /var/run/watchword/bundle, readOnly: true}
    - {name: watchword-api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
    - {name: watchword-usage, mountPath: /var/run/watchword/usage}
{{- end -}}

{{- /* The volumes of the gate, for spec.volumes: dict service. */ -}}
{{- define "watchword.gate.volumes" -}}
- name: watchword-bundle
  configMap: {name: watchword-bundle-{{ required "watchword.gate.volumes: service is missing" .service }}, optional: true}
- name: watchword-api-access
  projected:
    defaultMode: 0444
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
- name: watchword-usage
  emptyDir: {sizeLimit: 1Gi}
{{- end -}}
