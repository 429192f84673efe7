//! Who is refused, in the log: one line for each, as far as strangers cannot fill a disk with them. What anybody on the
//! network can make the server say, as often as they like, is said a few times a second, or once.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use actix_web::{
    Error,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
    web::Data,
};

use crate::{access::OriginRefused, actor::clock};

use super::{
    Shared,
    help::{self, Form},
};

/// How many refusals are logged in a second.
const PER_SECOND: u32 = 10;
/// Of how many origins it is remembered that they were logged.
const ORIGINS_MAX: usize = 100;
/// Most characters of a stranger's in a line.
const CHARS_MAX: usize = 200;

static SAID: Mutex<Said> = Mutex::new(Said {
    second: 0,
    count: 0,
    left_out: 0,
});
static ORIGINS: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// What this second's lines are.
#[derive(Debug, Default)]
struct Said {
    second: u64,
    count: u32,
    /// Refusals since the last line that have none.
    left_out: u64,
}

impl Said {
    /// Whether one more may be said in this second; then with the number of those that were not.
    fn may_be_said(&mut self, second: u64) -> Option<u64> {
        if self.second != second {
            (self.second, self.count) = (second, 0);
        }
        self.count = self.count.saturating_add(1);
        if self.count > PER_SECOND {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Logs one more refusal, if there is room for it in this second.
pub fn say(refused: std::fmt::Arguments<'_>) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let may_be_said = said.may_be_said(clock::now() / 1_000_000);
    drop(said);
    match may_be_said {
        Some(0) => log::info!("{refused}"),
        Some(left_out) => log::info!("{refused} ({left_out} refusals before this one are not in the log)"),
        None => {}
    }
}

/// What a stranger wrote, as a part of a line.
#[must_use]
pub fn short(text: &str) -> String {
    text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect()
}

/// Logs that pages of an origin may not connect, once for each: whoever runs the server may have to allow it.
pub fn of_origin(refused: &OriginRefused) {
    let mut origins = ORIGINS.lock().unwrap_or_else(PoisonError::into_inner);
    if origins.len() < ORIGINS_MAX && origins.insert(refused.0.clone()) {
        log::warn!("{refused}");
    }
}

/// Why an answer is a refusal; it travels with the answer to [`told`].
#[derive(Debug, Clone)]
pub struct Reason(pub String);

/// Around all requests: a refusal is logged, and one who looks for the right address is helped.
///
/// # Errors
/// Those of the request.
pub async fn told(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let answer = next.call(request).await?;
    let reason = answer.response().extensions().get::<Reason>().cloned();
    let Some(Reason(reason)) = reason else {
        return Ok(answer);
    };
    let (asked, status) = (answer.request(), answer.status());
    // Without the query, which may have a token.
    let path = short(asked.uri().path());
    let method = asked.method();
    if status == StatusCode::NOT_FOUND {
        log::debug!("nothing is at {path} ({method})");
    } else {
        say(format_args!("{method} {path} was refused: {reason}"));
    }
    if !help::is_for(status) {
        return Ok(answer);
    }
    let form = Form::of(asked.headers());
    let shared = asked.app_data::<Data<Shared>>().cloned();
    Ok(match shared {
        Some(shared) => help::put(answer, form, &reason, &shared.base_path),
        None => answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e34_each_second_has_its_own_few_and_says_how_many_there_were() {
        let mut said = Said::default();

        for (second, left_out) in [(7, 0), (8, 9_990), (1_000_000, 9_990)] {
            let lines: Vec<u64> = (0..10_000).filter_map(|_| said.may_be_said(second)).collect();
            assert_eq!(lines.len() as u32, PER_SECOND);
            assert_eq!(lines[0], left_out);
            assert!(lines[1..].iter().all(|left_out| *left_out == 0));
        }
    }
}
