{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- /* A caller's token, for spec.volumes: dict audience, expirationSeconds. */ -}}
{{- define "watchword.token.volume" -}}
- name: watchword-token
  projected:
    defaultMode: 0444
    sources:
      - serviceAccountToken:
          audience: {{ required "watchword.token.volume: audience is missing" .audience | quote }}
          expirationSeconds: {{ default 3600 .expirationSeconds }}
          path: token
{{- end -}}

{{- define "watchword.token.mount" -}}
- {name: watchword-token, mountPath: /var/run/secrets/watchword.dev, readOnly: true}
{{- end -}}

{{- define "watchword.token.env" -}}
- {name: WATCHWORD_TOKEN_FILE, value: /var/run/secrets/watchword.dev/token}
{{- end -}}
