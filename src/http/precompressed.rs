//! Files that were compressed when the demo was built, which is better than a server can do while somebody waits.

use actix_web::{
    HttpRequest,
    http::header::{AcceptEncoding, ContentEncoding, Encoding, Header},
};

/// What the name of a compressed file ends with, and how it is compressed; the smallest first.
const CODINGS: [(&str, ContentEncoding); 2] = [(".br", ContentEncoding::Brotli), (".gz", ContentEncoding::Gzip)];

/// The smallest form of a file that whoever asks can read, and how it is compressed; `get` gives a file by its name.
pub fn best<F>(
    name: &str,
    request: &HttpRequest,
    get: impl Fn(&str) -> Option<F>,
) -> Option<(F, Option<ContentEncoding>)> {
    let accepted = AcceptEncoding::parse(request).ok();
    CODINGS
        .into_iter()
        .filter(|(_, coding)| accepted.as_ref().is_some_and(|accepted| takes(accepted, *coding)))
        .find_map(|(ending, coding)| Some((get(&format!("{name}{ending}"))?, Some(coding))))
        .or_else(|| Some((get(name)?, None)))
}

/// Who names no coding takes none: it may be a program that reads no header.
fn takes(accepted: &AcceptEncoding, coding: ContentEncoding) -> bool {
    let coding = Encoding::Known(coding);
    let among = [coding.clone(), Encoding::identity()];
    !accepted.is_empty() && accepted.negotiate(among.iter()) == Some(coding)
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header, test::TestRequest};

    use super::*;

    fn sent(accepted: &str) -> Option<(String, Option<ContentEncoding>)> {
        let request = TestRequest::default().insert_header((header::ACCEPT_ENCODING, accepted));
        best("file.js", &request.to_http_request(), |name| Some(name.to_owned()))
    }

    #[test]
    fn w121_who_asks_is_sent_the_smallest_that_it_can_read() {
        let plain = Some(("file.js".to_owned(), None));
        let gzip = Some(("file.js.gz".to_owned(), Some(ContentEncoding::Gzip)));
        let brotli = Some(("file.js.br".to_owned(), Some(ContentEncoding::Brotli)));
        assert_eq!(sent("gzip, deflate, br, zstd"), brotli);
        assert_eq!(sent("gzip, deflate"), gzip);
        assert_eq!(sent("br;q=0, gzip;q=0.5, identity;q=0.1"), gzip);
        assert_eq!(sent("identity"), plain);
        assert_eq!(sent("gzip;q=0.1, identity;q=0.5"), plain);
        assert_eq!(sent(";;"), plain);
        let says_nothing = TestRequest::default().to_http_request();
        assert_eq!(best("file.js", &says_nothing, |name| Some(name.to_owned())), plain);
    }

    #[test]
    fn w121_what_does_not_get_smaller_is_sent_as_it_is() {
        let request = TestRequest::default().insert_header((header::ACCEPT_ENCODING, "gzip, br"));
        let font = best("font.woff2", &request.to_http_request(), |name| {
            name.ends_with("woff2").then_some(())
        });
        assert_eq!(font, Some(((), None)));
    }
}
