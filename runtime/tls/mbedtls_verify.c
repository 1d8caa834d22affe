/* SPDX-License-Identifier: Apache-2.0 */
/* mbedtls_verify.c - mbedTLS's verdict on a chain, made as strict as OpenSSL's
 * and told in its words. */
#include <string.h>

#include <mbedtls/oid.h>

#include "tls/mbedtls_impl.h"

/* X509_V_ERR_* of <openssl/x509_vfy.h>. */
enum {
    CODE_UNSPECIFIED = 1,
    CODE_NO_CRL = 3,
    CODE_CRL_SIGNATURE = 8,
    CODE_NOT_YET_VALID = 9,
    CODE_EXPIRED = 10,
    CODE_CRL_NOT_YET_VALID = 11,
    CODE_CRL_EXPIRED = 12,
    CODE_SELF_SIGNED = 18,
    CODE_SELF_SIGNED_IN_CHAIN = 19,
    CODE_NO_ISSUER = 20,
    CODE_REVOKED = 23,
    CODE_PURPOSE = 26,
    CODE_HOSTNAME = 62,
    CODE_ADDRESS = 64,
    CODE_WEAK_KEY = 66,
    CODE_WEAK_DIGEST = 68,
};

/* A bit of the flags that mbedTLS leaves to callbacks: the leaf's issuer has
 * no CRL. */
static const uint32_t FLAG_NO_CRL = MBEDTLS_X509_BADCERT_OTHER;

static bool
same_name(const mbedtls_x509_buf *a, const mbedtls_x509_buf *b)
{
    /* Of what is empty there may be no address either. */
    return a->len == b->len && (a->len == 0 || memcmp(a->p, b->p, a->len) == 0);
}

static bool
names_address(const mbedtls_x509_crt *certificate, const uint8_t *address,
              size_t len)
{
    for (const mbedtls_x509_sequence *name = &certificate->subject_alt_names;
         name != NULL; name = name->next) {
        if ((name->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK)
                == MBEDTLS_X509_SAN_IP_ADDRESS
            && name->buf.len == len && memcmp(name->buf.p, address, len) == 0) {
            return true;
        }
    }
    return false;
}

/* mbedTLS takes the common name where there are no other names at all. */
static void
check_name(const mbedtls_tls *tls, const mbedtls_x509_crt *leaf,
           uint32_t *flags)
{
    const rsl_tls_settings *settings = &tls->config->settings;

    if (settings->server || !settings->check_hostname) {
        *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
        return;
    }
    if (tls->address_len > 0) {
        *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH;
        if (!names_address(leaf, tls->address, tls->address_len)) {
            *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
        }
        return;
    }
    if (!settings->check_common_name
        && !mbedtls_x509_crt_has_ext_type(leaf,
                                          MBEDTLS_X509_EXT_SUBJECT_ALT_NAME)) {
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    }
}

/* mbedTLS is content when it knows no CRL of the issuer. */
static bool
has_crl(const rsl_mbedtls_config *config, const mbedtls_x509_crt *leaf)
{
    for (const mbedtls_x509_crl *crl = &config->crl;
         crl != NULL && crl->version != 0; crl = crl->next) {
        if (same_name(&crl->issuer_raw, &leaf->issuer_raw)) {
            return true;
        }
    }
    return false;
}

int
rsl_mbedtls_verify(void *arg, mbedtls_x509_crt *certificate, int depth,
                   uint32_t *flags)
{
    mbedtls_tls *tls = arg;

    tls->verified = true;
    if (depth == 0) {
        check_name(tls, certificate, flags);
        if (tls->config->settings.check_crl
            && !has_crl(tls->config, certificate)) {
            *flags |= FLAG_NO_CRL;
        }
    }
    if (*flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) {
        bool own =
            same_name(&certificate->issuer_raw, &certificate->subject_raw);

        tls->trust_code = !own         ? CODE_NO_ISSUER
                          : depth == 0 ? CODE_SELF_SIGNED
                                       : CODE_SELF_SIGNED_IN_CHAIN;
    }
    tls->verify_flags |= *flags;
    return 0;
}

int
rsl_mbedtls_verify_code(const mbedtls_tls *tls)
{
    /* In the order in which OpenSSL looks. */
    static const struct {
        uint32_t flags;
        int code;
    } order[] = {
        {MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE
             | MBEDTLS_X509_BADCERT_NS_CERT_TYPE,
         CODE_PURPOSE},
        {MBEDTLS_X509_BADCERT_BAD_KEY, CODE_WEAK_KEY},
        {MBEDTLS_X509_BADCERT_BAD_MD | MBEDTLS_X509_BADCERT_BAD_PK,
         CODE_WEAK_DIGEST},
        {MBEDTLS_X509_BADCERT_CN_MISMATCH, CODE_HOSTNAME},
        {MBEDTLS_X509_BADCERT_OTHER, CODE_NO_CRL},
        {MBEDTLS_X509_BADCRL_NOT_TRUSTED, CODE_CRL_SIGNATURE},
        {MBEDTLS_X509_BADCRL_FUTURE, CODE_CRL_NOT_YET_VALID},
        {MBEDTLS_X509_BADCRL_EXPIRED, CODE_CRL_EXPIRED},
        {MBEDTLS_X509_BADCERT_REVOKED, CODE_REVOKED},
        {MBEDTLS_X509_BADCERT_FUTURE, CODE_NOT_YET_VALID},
        {MBEDTLS_X509_BADCERT_EXPIRED, CODE_EXPIRED},
    };

    if (tls->trust_code != 0) {
        return tls->trust_code;
    }
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (tls->verify_flags & order[i].flags) {
            return order[i].code == CODE_HOSTNAME && tls->address_len > 0
                       ? CODE_ADDRESS
                       : order[i].code;
        }
    }
    return tls->verify_flags == 0 ? 0 : CODE_UNSPECIFIED;
}

const char *
rsl_mbedtls_verify_text(int code)
{
    static const struct {
        int code;
        const char *text;
    } texts[] = {
        {CODE_NO_CRL, "unable to get certificate CRL"},
        {CODE_CRL_SIGNATURE, "CRL signature failure"},
        {CODE_NOT_YET_VALID, "certificate is not yet valid"},
        {CODE_EXPIRED, "certificate has expired"},
        {CODE_CRL_NOT_YET_VALID, "CRL is not yet valid"},
        {CODE_CRL_EXPIRED, "CRL has expired"},
        {CODE_SELF_SIGNED, "self-signed certificate"},
        {CODE_SELF_SIGNED_IN_CHAIN,
         "self-signed certificate in certificate chain"},
        {CODE_NO_ISSUER, "unable to get local issuer certificate"},
        {CODE_REVOKED, "certificate revoked"},
        {CODE_PURPOSE, "unsuitable certificate purpose"},
        {CODE_HOSTNAME, "hostname mismatch"},
        {CODE_ADDRESS, "IP address mismatch"},
        {CODE_WEAK_KEY, "EE certificate key too weak"},
        {CODE_WEAK_DIGEST, "CA signature digest algorithm too weak"},
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].code == code) {
            return texts[i].text;
        }
    }
    return "unspecified certificate verification error";
}

uint8_t
rsl_mbedtls_verify_alert(int code)
{
    switch (code) {
    case CODE_SELF_SIGNED:
    case CODE_SELF_SIGNED_IN_CHAIN:
    case CODE_NO_ISSUER:
    case CODE_NO_CRL:
        return MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA;
    case CODE_EXPIRED:
    case CODE_CRL_EXPIRED:
        return MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED;
    case CODE_REVOKED:
        return MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED;
    case CODE_PURPOSE:
        return MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT;
    default: /* the rest speaks of a certificate that is as it should not be */
        return MBEDTLS_SSL_ALERT_MSG_BAD_CERT;
    }
}

uint8_t
rsl_mbedtls_sent_alert(const mbedtls_tls *tls)
{
    static const struct {
        uint32_t flag;
        uint8_t alert;
    } order[] = {
        {MBEDTLS_X509_BADCERT_OTHER, MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED},
        {MBEDTLS_X509_BADCERT_CN_MISMATCH, MBEDTLS_SSL_ALERT_MSG_BAD_CERT},
        {MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE
             | MBEDTLS_X509_BADCERT_BAD_PK | MBEDTLS_X509_BADCERT_BAD_KEY,
         MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT},
        {MBEDTLS_X509_BADCERT_EXPIRED, MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED},
        {MBEDTLS_X509_BADCERT_REVOKED, MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED},
        {MBEDTLS_X509_BADCERT_NOT_TRUSTED, MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA},
    };

    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (tls->verify_flags & order[i].flag) {
            return order[i].alert;
        }
    }
    return MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN;
}
