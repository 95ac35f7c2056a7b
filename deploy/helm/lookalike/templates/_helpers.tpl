{{- define "lookalike.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "lookalike.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lookalike.labels" -}}
{{ include "lookalike.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "lookalike.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What must be said, each in words; the schema has the shapes. */}}
{{- define "lookalike.require" -}}
{{- $values := .Values -}}
{{- $_ := required "records.url: which PostgreSQL keeps the records, such as postgresql://lookalike@db.example.org:5432/lookalike" $values.records.url -}}
{{- $_ := required "index.url: which Elasticsearch keeps the vectors, such as es+https://lookalike@search.example.org:9200" $values.index.url -}}
{{- $_ := required "index.volumeEncrypted: Elasticsearch keeps templates in the clear, and they can be turned into faces; encrypt its volumes, then say: attested" $values.index.volumeEncrypted -}}
{{- range $name, $what := dict "rootKey" "the root key (32 random bytes)" "adminKey" "the first admin key" "tls" "the certificate (tls.crt, tls.key)" "postgresqlPassword" "PostgreSQL's password" "postgresqlCa" "the authority of PostgreSQL's certificate" "elasticsearchPassword" "Elasticsearch's password" "elasticsearchCa" "the authority of Elasticsearch's certificate" -}}
{{- $_ := required (printf "secrets.%s.name: the Secret that holds %s" $name $what) (index $values.secrets $name).name -}}
{{- end -}}
{{- if $values.networkPolicy.enabled -}}
{{- if not $values.networkPolicy.postgresql }}{{ fail "networkPolicy.postgresql: where PostgreSQL is, such as [{ipBlock: {cidr: 192.0.2.10/32}}]; nothing else may be reached" }}{{ end -}}
{{- if not $values.networkPolicy.elasticsearch }}{{ fail "networkPolicy.elasticsearch: where Elasticsearch is, such as [{podSelector: {matchLabels: {app: elasticsearch}}}]" }}{{ end -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.names) }}{{ fail "names: what clients call the service, which the ingress routes by" }}{{ end -}}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) }}{{ fail "autoscaling.maxReplicas: not less than minReplicas" }}{{ end -}}
{{- if $values.monitoring.serviceMonitor -}}
{{- $_ := required "monitoring.metricsKey.name: the Secret that holds an API key for Prometheus" $values.monitoring.metricsKey.name -}}
{{- $_ := required "monitoring.ca.name: the Secret that holds the authority of the service's certificate" $values.monitoring.ca.name -}}
{{- end -}}
{{- end -}}

{{/* The port at the end of a URL's host, or the usual one. */}}
{{- define "lookalike.port" -}}
{{- regexFind ":[0-9]+(/|,|$)" (regexReplaceAll "^[a-z+]+://" .url "") | default (printf ":%d" (int .usual)) | trimAll ":/," -}}
{{- end -}}
