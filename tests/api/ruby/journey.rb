# The main job with the AWS SDK for Ruby. Configuration comes from the environment, as rig.sh
# exports it. Exit status 0: all as expected; 77: there is no such library.
begin
  require "aws-sdk-kms"
rescue LoadError => e
  puts e.message
  exit 77
end

def check(good, what)
  abort what unless good
end

def refused(error)
  yield
  abort "#{error} did not come"
rescue error => e
  check e.context.http_response.status_code == 400, "#{error} is not status 400"
end

options = { endpoint: ENV.fetch("AWS_ENDPOINT_URL_KMS"), region: ENV.fetch("AWS_DEFAULT_REGION") }
options[:ssl_ca_bundle] = ENV["AWS_CA_BUNDLE"] if ENV["AWS_CA_BUNDLE"]
kms = Aws::KMS::Client.new(**options)

key = kms.create_key(description: "ruby ü").key_metadata
check key.key_state == "Enabled", "a new key is not enabled"
context = { "zeta" => "1", "alpha" => "é", "aws:s3:arn" => "arn:aws:s3:::b/k" }
made = kms.generate_data_key(key_id: key.key_id, key_spec: "AES_256", encryption_context: context)
check made.plaintext.bytesize == 32, "a data key has another length"
open = lambda do |with|
  kms.decrypt(ciphertext_blob: made.ciphertext_blob, encryption_context: with).plaintext
end
check open.call(context.to_a.reverse.to_h) == made.plaintext, "another data key came back"

if kms.respond_to?(:rotate_key_on_demand)
  kms.rotate_key_on_demand(key_id: key.key_id)
else # older than the operation: Debian 12 has 1.24
  kms.enable_key_rotation(key_id: key.key_id)
  check kms.get_key_rotation_status(key_id: key.key_id).key_rotation_enabled, "it does not rotate"
end
check open.call(context) == made.plaintext, "another data key came back after the rotation"

refused(Aws::KMS::Errors::InvalidCiphertextException) { open.call({}) }
refused(Aws::KMS::Errors::NotFoundException) { kms.describe_key(key_id: "alias/none") }
puts "aws-sdk-kms #{Aws::KMS::GEM_VERSION}: ok"
