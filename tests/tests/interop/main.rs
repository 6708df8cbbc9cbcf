//! The stock SPIFFE libraries of Go, Python and Rust, as processes of their own, against the
//! built agent. No option is set in them but the address of the socket.
//!
//! The programs are in `tests/interop`; `tests/interop/run build` builds them.

mod bed;
mod client;
mod fetch;
mod mtls;
mod watch;
mod x509;

use countersign_tests::AgentSettings;

use bed::{Bed, by_uid, entry};
use client::Language;

/// Each case once for each language.
macro_rules! cases {
    ($($module:ident $language:ident: $($room:ident::$case:ident)*;)*) => {$(
        mod $module {
            $(
                #[tokio::test]
                async fn $case() {
                    if crate::Language::$language.built_or_skip() {
                        crate::$room::$case(crate::Language::$language).await;
                    }
                }
            )*
        }
    )*};
    (every language: $($cases:tt)*) => {
        cases! {
            go Go: $($cases)*;
            python Python: $($cases)*;
            rust Rust: $($cases)*;
        }
    };
}

cases! { every language:
    fetch::fetches_and_validates
    fetch::reuses_a_token_within_a_process_only
    fetch::fetches_all_identities
    fetch::fetches_many_at_once
    fetch::is_refused_with_the_right_code
    fetch::is_refused_the_validation_for_another_audience
    fetch::is_selected_by_its_path
    watch::follows_a_key_change
    watch::goes_on_over_a_restart
    x509::fetches_svids
    x509::fetches_svids_of_all_identities
    x509::is_refused_svids_with_the_right_code
    x509::holds_a_source_through_renewals
    x509::holds_a_source_through_a_rotation
    x509::holds_a_source_through_a_taint
    x509::holds_a_source_over_a_restart
    x509::holds_a_source_while_its_entry_goes_and_comes
}

/// gRPC core makes the `:authority` of its requests from the path of the socket: some
/// characters it writes as `%` and two digits, some as they are that no host name has.
///
/// Python only: the library of Rust cannot name a file whose path a URI has to encode.
#[tokio::test]
async fn python_reaches_a_socket_with_odd_characters_in_its_path() {
    if !Language::Python.built_or_skip() {
        return;
    }
    for folder_prefix in ["a b%c-d_e", "grüße", "a:b:c", "a@b@", "]a[b", "!$&'()*+;=~"] {
        let settings = AgentSettings { folder_prefix, ..AgentSettings::default() };
        let bed = Bed::with(Language::Python, settings).await;
        bed.agent.apply(&entry("orders", &by_uid()));
        let told = bed.run(&["fetch-twice", "billing"]).await;
        assert_eq!(told.len(), 2, "{folder_prefix}: {told:?}");
    }
}
