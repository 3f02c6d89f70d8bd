#include "net/certificate.h"

#include <algorithm>
#include <ctime>

#include "actors/describe.h"
#include "config/small_file.h"
#include "net/certificate_handles.h"

namespace gpupool {
namespace {

constexpr std::int64_t file_bytes_max = 64 * 1024;

Error wrong(std::string_view key, const std::string& file, const std::string& what) {
  return {.code = Errc::config_invalid,
          .detail = "cluster." + std::string(key) + ": " + file + ": " + what};
}

std::string text_of(X509_NAME* name) {
  const Bio bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  return written_to(bio);
}

std::string common_name(X509_NAME* name) {
  const int place = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (place < 0) return "";
  ASN1_STRING* text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, place));
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

Instant instant_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return {std::int64_t{timegm(&parts)} * 1000};
}

std::string address_of(const ASN1_OCTET_STRING* bytes) {
  ASN1_OCTET_STRING* copy = ASN1_OCTET_STRING_dup(bytes);
  std::string text;
  const unsigned char* byte = ASN1_STRING_get0_data(copy);
  const int size = ASN1_STRING_length(copy);
  const bool is_v6 = size == 16;
  std::array<char, 8> part{};
  for (int i = 0; i < size; i += is_v6 ? 2 : 1) {
    if (is_v6)
      std::snprintf(part.data(), part.size(), "%x", byte[i] * 256 + byte[i + 1]);
    else
      std::snprintf(part.data(), part.size(), "%d", byte[i]);
    text += (i == 0 ? "" : is_v6 ? ":" : ".") + std::string(part.data());
  }
  ASN1_OCTET_STRING_free(copy);
  return text;
}

std::vector<std::string> addresses_of(X509* certificate) {
  std::vector<std::string> addresses;
  const GeneralNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_IPADD) addresses.push_back(address_of(name->d.iPAddress));
    if (name->type == GEN_DNS)
      addresses.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                             static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  return addresses;
}

std::string fingerprint_of(X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  X509_digest(certificate, EVP_sha256(), digest.data(), &size);
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    if (i > 0) text += ':';
    text += digits[digest[i] >> 4U];
    text += digits[digest[i] & 15U];
  }
  return text;
}

CertificateFacts facts_of(X509* certificate) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  return {.subject = text_of(subject),
          .name = common_name(subject),
          .issuer = text_of(X509_get_issuer_name(certificate)),
          .valid_from = instant_of(X509_get0_notBefore(certificate)),
          .valid_until = instant_of(X509_get0_notAfter(certificate)),
          .is_authority = X509_check_ca(certificate) != 0,
          .addresses = addresses_of(certificate),
          .fingerprint = fingerprint_of(certificate)};
}

Result<std::string> read_file(std::string_view key, Result<std::string> text) {
  if (text) return text;
  std::string detail = "cluster." + std::string(key) + ": " + text.error().detail;
  if (detail.find("chmod") == std::string::npos)
    detail += "; name a file that gpupoold's user can read (gpupool pki makes them)";
  return Error{.code = Errc::config_invalid, .detail = std::move(detail)};
}

struct Chain {
  Certificates authorities;
  Certificates own;  // this machine's first, then what stands between it and an authority
  X509* leaf() const { return sk_X509_value(own.get(), 0); }
};

Result<Chain> read_chain(const MembershipFiles& files, const ClusterConfig& cluster) {
  Chain chain{read_certificates(files.ca), read_certificates(files.certificate)};
  if (sk_X509_num(chain.authorities.get()) == 0)
    return wrong("ca_file", cluster.ca_file,
                 "holds no certificate in PEM; copy ca.certificate of gpupool pki init there");
  if (files.ca.find("PRIVATE KEY-----") != std::string::npos)
    return wrong("ca_file", cluster.ca_file,
                 "holds a secret key; leave only the certificate on this machine");
  if (sk_X509_num(chain.own.get()) == 0)
    return wrong("certificate_file", cluster.certificate_file,
                 "holds no certificate in PEM; gpupool pki node NAME makes one");
  if (X509_check_ca(chain.leaf()) != 0)
    return wrong("certificate_file", cluster.certificate_file,
                 "is an authority's own certificate; name this machine's, which gpupool pki node "
                 "NAME makes");
  return chain;
}

Status check_key(const Chain& chain, const MembershipFiles& files, const ClusterConfig& cluster) {
  const SecretKey key = read_secret_key(files.key);
  if (!key && files.key.find("ENCRYPTED") != std::string::npos)
    return wrong("key_file", cluster.key_file,
                 "is behind a passphrase, which a daemon cannot type; write it without one "
                 "(openssl pkey), for its owner alone");
  if (!key)
    return wrong("key_file", cluster.key_file,
                 "holds no secret key in PEM; gpupool pki node NAME makes one");
  if (X509_check_private_key(chain.leaf(), key.get()) == 1) return ok();
  ERR_clear_error();
  return wrong("key_file", cluster.key_file,
               "is not the key of " + cluster.certificate_file +
                   "; copy both files of one gpupool pki node");
}

std::string valid_text(X509* certificate) {
  const CertificateFacts facts = facts_of(certificate);
  return " (" + facts.subject + ", valid from " + utc_text(facts.valid_from) + " until " +
         utc_text(facts.valid_until) + ")";
}

// Why this chain holds no trust, in words that say which file has to change.
Error untrusted(int code, int depth, X509* at, const ClusterConfig& cluster) {
  const bool is_own = depth == 0;
  const std::string_view key = is_own ? "certificate_file" : "ca_file";
  const std::string& file = is_own ? cluster.certificate_file : cluster.ca_file;
  const std::string which = at == nullptr ? "" : valid_text(at);
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return wrong(key, file,
                   "has expired" + which + "; " +
                       (is_own ? renewal_advice(facts_of(at))
                               : std::string("make a new authority: docs/operations.md, "
                                             "\"Certificates\"")));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return wrong(key, file,
                   "is not valid yet" + which +
                       "; look at this machine's clock, and at the one "
                       "where it was made");
    case X509_V_ERR_INVALID_PURPOSE:
      return wrong(key, file,
                   "is not for the server and the client of TLS" + which +
                       "; gpupool pki node NAME makes one that is");
    case X509_V_ERR_INVALID_CA:
    case X509_V_ERR_INVALID_NON_CA:
      return wrong("ca_file", cluster.ca_file,
                   "is no authority's certificate" + which +
                       "; copy ca.certificate of gpupool pki init there");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return wrong("certificate_file", cluster.certificate_file,
                   "was not signed by the authority in " + cluster.ca_file + which +
                       "; copy both from the same gpupool pki folder");
    default:
      return wrong(key, file, std::string(X509_verify_cert_error_string(code)) + which);
  }
}

// As a server checks a client, or a client a server: a node is both.
Status check_trust(const Chain& chain, int purpose, Instant now, const ClusterConfig& cluster,
                   Membership& found) {
  const std::unique_ptr<X509_STORE, FreedBy<X509_STORE_free>> store(X509_STORE_new());
  for (int i = 0; i < sk_X509_num(chain.authorities.get()); ++i)
    X509_STORE_add_cert(store.get(), sk_X509_value(chain.authorities.get(), i));
  const std::unique_ptr<X509_STORE_CTX, FreedBy<X509_STORE_CTX_free>> check(X509_STORE_CTX_new());
  X509_STORE_CTX_init(check.get(), store.get(), chain.leaf(), chain.own.get());
  X509_STORE_CTX_set_purpose(check.get(), purpose);
  X509_STORE_CTX_set_time(check.get(), 0, static_cast<time_t>(now.ms / 1000));
  const bool holds = X509_verify_cert(check.get()) == 1;
  ERR_clear_error();
  if (!holds)
    return untrusted(X509_STORE_CTX_get_error(check.get()),
                     X509_STORE_CTX_get_error_depth(check.get()),
                     X509_STORE_CTX_get_current_cert(check.get()), cluster);
  const STACK_OF(X509)* whole = X509_STORE_CTX_get0_chain(check.get());
  for (int i = 0; i < sk_X509_num(whole); ++i) {
    const CertificateFacts facts = facts_of(sk_X509_value(whole, i));
    found.until = std::min(found.until, facts.valid_until);
    found.authority = facts.subject;
    found.authority_until = facts.valid_until;
  }
  return ok();
}

using Context = std::unique_ptr<SSL_CTX, FreedBy<SSL_CTX_free>>;
using Connection = std::unique_ptr<SSL, FreedBy<SSL_free>>;

// With the library's own rules, e.g. which keys are too short; CAF sets none of its own.
Result<Context> make_context(const Chain& chain, const SecretKey& key,
                             const ClusterConfig& cluster) {
  Context context(SSL_CTX_new(TLS_method()));
  if (SSL_CTX_use_certificate(context.get(), chain.leaf()) != 1)
    return wrong("certificate_file", cluster.certificate_file,
                 "OpenSSL refuses it: " + openssl_reason());
  for (int i = 1; i < sk_X509_num(chain.own.get()); ++i)
    if (SSL_CTX_add1_chain_cert(context.get(), sk_X509_value(chain.own.get(), i)) != 1)
      return wrong("certificate_file", cluster.certificate_file,
                   "OpenSSL refuses its chain: " + openssl_reason());
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1)
    return wrong("key_file", cluster.key_file, "OpenSSL refuses it: " + openssl_reason());
  for (int i = 0; i < sk_X509_num(chain.authorities.get()); ++i)
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()),
                        sk_X509_value(chain.authorities.get(), i));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return context;
}

// A server and a client with these files, inside this function.
Status shake_hands(const Chain& chain, const MembershipFiles& files, const ClusterConfig& cluster,
                   Instant now) {
  const SecretKey key = read_secret_key(files.key);
  auto context = make_context(chain, key, cluster);
  if (!context) return context.error();
  X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(context->get()),
                             static_cast<time_t>(now.ms / 1000));
  const Connection server(SSL_new(context->get()));
  const Connection client(SSL_new(context->get()));
  BIO* of_server = nullptr;
  BIO* of_client = nullptr;
  BIO_new_bio_pair(&of_server, 0, &of_client, 0);
  SSL_set_bio(server.get(), of_server, of_server);
  SSL_set_bio(client.get(), of_client, of_client);
  SSL_set_accept_state(server.get());
  SSL_set_connect_state(client.get());
  constexpr int rounds_max = 20;
  for (int round = 0; round < rounds_max; ++round) {
    const int there = SSL_do_handshake(client.get());
    const int back = SSL_do_handshake(server.get());
    if (there == 1 && back == 1) return ok();
    for (const auto& [side, result] : {std::pair{client.get(), there}, {server.get(), back}})
      if (result != 1 && SSL_get_error(side, result) == SSL_ERROR_SSL)
        return wrong("certificate_file", cluster.certificate_file,
                     "no encrypted connection can be made with it: " + openssl_reason());
  }
  return wrong("certificate_file", cluster.certificate_file,
               "no encrypted connection can be made with it");
}

}  // namespace

Result<CertificateFacts> read_certificate(const std::string& pem) {
  const Certificates all = read_certificates(pem);
  if (sk_X509_num(all.get()) == 0)
    return Error{.code = Errc::file_malformed, .detail = "holds no certificate in PEM"};
  return facts_of(sk_X509_value(all.get(), 0));
}

Result<MembershipFiles> read_membership(const ClusterConfig& cluster) {
  auto ca = read_file("ca_file", read_small_file(cluster.ca_file, file_bytes_max));
  if (!ca) return ca.error();
  auto certificate =
      read_file("certificate_file", read_small_file(cluster.certificate_file, file_bytes_max));
  if (!certificate) return certificate.error();
  auto key = read_file("key_file", read_owners_file(cluster.key_file, file_bytes_max));
  if (!key) return key.error();
  return MembershipFiles{
      .ca = *std::move(ca), .certificate = *std::move(certificate), .key = *std::move(key) + "\n"};
}

Result<Membership> check_membership(const MembershipFiles& files, const ClusterConfig& cluster,
                                    Instant now) {
  const auto chain = read_chain(files, cluster);
  if (!chain) return chain.error();
  if (const Status matching = check_key(*chain, files, cluster); !matching) return matching.error();
  Membership found{.certificate = facts_of(chain->leaf()), .until = Instant::never()};
  for (const int purpose : {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT})
    if (const Status trusted = check_trust(*chain, purpose, now, cluster, found); !trusted)
      return trusted.error();
  if (const Status usable = shake_hands(*chain, files, cluster, now); !usable)
    return usable.error();
  return found;
}

std::string renewal_advice(const CertificateFacts& facts) {
  return "where the authority's key is, run gpupool pki node " + facts.name +
         " --renew, copy both files here and start gpupoold again";
}

std::string days_text(Duration left) {
  const std::int64_t hours = std::max<std::int64_t>(left.ms, 0) / 3'600'000;
  const std::int64_t count = hours >= 48 ? hours / 24 : hours;
  const char* unit = hours >= 48 ? "day" : "hour";
  return std::to_string(count) + " " + unit + (count == 1 ? "" : "s");
}

}  // namespace gpupool
