{{/*
Labels of every object; takes a dict of `root` and `component`.
*/}}
{{- define "quilt.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "quilt.selector" . }}
{{- end }}

{{/*
What selects the Pods of a component. A Deployment's selector can never change: keep it short.
*/}}
{{- define "quilt.selector" -}}
app.kubernetes.io/name: quilt-mesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/*
Image of a component; takes a dict of `root` and `name` (node or operator).
*/}}
{{- define "quilt.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}-{{ .name }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/*
Where the API server is, when the Service of it cannot be used yet.
*/}}
{{- define "quilt.apiServerEnv" -}}
{{- with .Values.apiServer }}
{{- if .host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .host | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .port | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Address that probes and metrics listen on. Everything is on the host's network, so the default is loopback.
*/}}
{{- define "quilt.listenAddress" -}}
{{- if or .Values.monitoring.expose .Values.monitoring.serviceMonitor.enabled -}}0.0.0.0{{- else -}}127.0.0.1{{- end -}}
{{- end }}

{{/*
Probes of a process; takes its port. The kubelet asks over loopback, where it always listens.
*/}}
{{- define "quilt.probes" -}}
livenessProbe:
  httpGet: {host: 127.0.0.1, port: {{ . }}, path: /healthz}
  initialDelaySeconds: 10
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {host: 127.0.0.1, port: {{ . }}, path: /readyz}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{/*
Everyone's own token volume, as the kubelet would build it; mounted only where it is needed.
*/}}
{{- define "quilt.tokenVolume" -}}
name: kube-api-access
projected:
  # Readable by its owner and group alone.
  defaultMode: 0440
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3607}
    - configMap:
        name: kube-root-ca.crt
        items: [{key: ca.crt, path: ca.crt}]
    - downwardAPI:
        items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}

{{/*
What the Pods of `helm test` share: no privilege at all, so that they run wherever a workload runs.
*/}}
{{- define "quilt.testPod" -}}
tolerations: [{operator: Exists}]
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: test
    configMap: {name: quilt-test}
{{- end }}

{{- define "quilt.testContainer" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: test, mountPath: /test, readOnly: true}
{{- end }}
