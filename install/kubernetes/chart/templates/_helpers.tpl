{{- define "oci-apparmor.labels" -}}
app.kubernetes.io/name: oci-apparmor
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "oci-apparmor.selector" -}}
app.kubernetes.io/name: oci-apparmor
{{- end }}
{{- define "oci-apparmor.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "oci-apparmor.policy" -}}
{{ .Values.policy.existingConfigMap | default "oci-apparmor-policy" }}
{{- end }}
