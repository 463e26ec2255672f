{{/*
Values that `helm upgrade --reuse-values` brings from an older chart lack what is new in this one. Asked first by
whatever every template uses.
*/}}
{{- define "quilt.refuseOlderValues" -}}
{{- if not (hasKey .Values.node "tolerations") }}
{{- fail "These values lack node.tolerations and are an older chart's: use --reset-then-reuse-values instead of --reuse-values, which adds the defaults that are new in this chart." }}
{{- end }}
{{- end }}

{{/*
Metadata of an object; from a list: root, component, name, namespace ("" for a cluster-scoped object), and
optionally labels and annotations of its own.
*/}}
{{- define "quilt.metadata" -}}
{{- $root := index . 0 -}}
{{- $own := slice (concat . (list dict dict)) 4 -}}
name: {{ index . 2 }}
{{- with index . 3 }}
namespace: {{ . }}
{{- end }}
labels: {{- include "quilt.labels" (dict "root" $root "component" (index . 1) "own" (first $own)) | nindent 2 }}
{{- with merge (dict) (index $own 1) $root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Metadata of a Pod template; from a list: root, component, the default container, the values of its Pods.
*/}}
{{- define "quilt.podMetadata" -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" (index . 2) -}}
{{- $annotations = merge $annotations (index . 3).podAnnotations (index . 0).Values.commonAnnotations -}}
labels: {{- include "quilt.labels" (dict "root" (index . 0) "component" (index . 1) "own" (index . 3).podLabels) | nindent 2 }}
annotations: {{- toYaml $annotations | nindent 2 }}
{{- end }}

{{/*
Labels of an object or Pod: the chart's, those of all objects, and its `own`; from a dict of `root`, `component`, `own`.
*/}}
{{- define "quilt.labels" -}}
{{- include "quilt.refuseOlderValues" .root -}}
{{- $ours := include "quilt.selector" . | fromYaml -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- $_ := set $ours "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- merge $ours (.own | default dict) .root.Values.commonLabels | toYaml }}
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
Image of a component; from a dict of `root` and `name` (node or operator). A digest decides; the tag then informs.
*/}}
{{- define "quilt.image" -}}
{{- include "quilt.refuseOlderValues" .root -}}
{{- $image := .root.Values.image -}}
{{- $own := get $image .name -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $own.repository | default (printf "%s-%s" $image.repository .name) -}}
:{{ $own.tag | default $image.tag | default .root.Chart.AppVersion -}}
{{ with $own.digest }}@{{ . }}{{ end }}
{{- end }}

{{/*
Where and as what the Pods of a component run; from a dict of `root`, `values` and `affinity`.
*/}}
{{- define "quilt.scheduling" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .values.nodeSelector }}{{ toYaml . | nindent 2 }}{{ end }}
{{- with merge (deepCopy .values.affinity) (.affinity | default dict) }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
What the values say of a Pod's SELinux label and AppArmor profile; from `securityContext`.
*/}}
{{- define "quilt.confinement" -}}
{{- range $key, $value := . }}
{{- with $value }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
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
Whether the operator creates the agents' multicast key: `true`, or nothing.
*/}}
{{- define "quilt.createsMulticastSecret" -}}
{{- if and .Values.network.multicast.enabled (not .Values.agent.multicastSecret) }}true{{ end }}
{{- end }}

{{/*
Address that probes and metrics listen on. Everything is on the host's network, so the default is loopback.
*/}}
{{- define "quilt.listenAddress" -}}
{{- if or .Values.monitoring.expose .Values.monitoring.serviceMonitor.enabled -}}0.0.0.0{{- else -}}127.0.0.1{{- end -}}
{{- end }}

{{/*
Probes of a process; from its port. The kubelet asks over loopback, where it always listens.
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
