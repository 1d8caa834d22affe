/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - OpenSSL's names for its reasons. */
#include <ctype.h>
#include <string.h>

#include <rsl/tls.h>

/* OpenSSL 3.2 calls its alerts "ssl/tls alert ...", and "tlsv1 alert" what has
 * the name TLSV1_ALERT_...; ssl.SSLError.reason keeps the old names. */
static const char alert_text[] = "ssl/tls alert ";
static const char alert_reason[] = "SSLV3_ALERT_";

void
rsl_tls_error_reason(const rsl_tls_error *error, char *buf, size_t cap)
{
    const char *text = error->text == NULL ? "" : error->text;
    size_t used = 0;

    if (cap == 0) {
        return;
    }
    if (strncmp(text, alert_text, sizeof alert_text - 1) == 0
        && cap >= sizeof alert_reason) {
        text += sizeof alert_text - 1;
        used = sizeof alert_reason - 1;
        memcpy(buf, alert_reason, used);
    }
    for (; *text != '\0' && used + 1 < cap; text++) {
        unsigned char c = (unsigned char)*text;

        buf[used++] = (char)(isalnum(c) ? toupper(c) : '_');
    }
    buf[used] = '\0';
}
