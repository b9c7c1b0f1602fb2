//! What a token answer teaches: pure, so that it can be held against the RFC line by line.

use crate::model::{GrantType, ScopeSet, TokenId, TokenPurpose, TokenRequest};

/// What is kept of a token request until its answer is there: no credential, only ids.
#[derive(Debug, Clone)]
pub struct Expected {
    /// What was asked for.
    pub purpose: TokenPurpose,
    /// By which kind of grant.
    pub grant_type: GrantType,
    /// The refresh token that was presented, or the token that is revoked.
    pub token: Option<TokenId>,
    /// The scopes that were asked for.
    pub scopes: Option<ScopeSet>,
}

impl Expected {
    /// Keeps what matters of a request.
    pub fn of(
        request: &TokenRequest<'_>,
        identify: impl Fn(&crate::model::Secret<'_>) -> TokenId,
    ) -> Self {
        Self {
            purpose: request.purpose,
            grant_type: request.grant_type,
            token: request.token.as_ref().map(identify),
            scopes: request
                .scopes
                .as_ref()
                .map(|scopes| scopes.iter().map(String::as_str).collect()),
        }
    }
}

/// What the scopes of a new pair of tokens are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Conclusion {
    /// Those of the access token; `None` if nobody said.
    pub(super) access: Option<ScopeSet>,
    /// Those that the refresh token can bring.
    pub(super) refresh: Option<ScopeSet>,
    /// The scopes of the grant before, where they are others.
    pub(super) changed: Option<ScopeSet>,
}

/// Concludes from an answer.
///
/// `answered` are the scopes of the answer; `asked` those of the request, where the vendor goes by them; `before` those
/// of the refresh token that was presented.
///
/// - What the answer does not say is as asked (RFC 6749 section 5.1), where asking means something: a code or a device's
///   code was asked for elsewhere, and a refresh cannot ask for more than there was (section 6).
/// - What a refresh does not say is as before.
/// - A refresh that asks for less binds the new access token only: the refresh token stands for what it stood for.
pub(super) fn conclude(
    grant_type: GrantType,
    answered: Option<ScopeSet>,
    asked: Option<ScopeSet>,
    before: Option<ScopeSet>,
) -> Conclusion {
    let refreshes = grant_type == GrantType::RefreshToken;
    let before = before.filter(|_| refreshes);
    let narrows = refreshes && asked.is_some();
    let asked = asked.filter(|asked| match grant_type {
        GrantType::RefreshToken => before.as_ref().is_some_and(|before| before.covers(asked)),
        GrantType::ClientCredentials | GrantType::Password | GrantType::JwtBearer => true,
        GrantType::AuthorizationCode
        | GrantType::DeviceCode
        | GrantType::TokenExchange
        | GrantType::Other => false,
    });
    let access = answered.or(asked).or_else(|| before.clone());
    let within = match (&access, &before) {
        (Some(access), Some(before)) => before.covers(access),
        _ => true,
    };
    Conclusion {
        refresh: if narrows && within {
            before.clone()
        } else {
            access.clone()
        },
        changed: before.filter(|before| access.as_ref().is_some_and(|access| access != before)),
        access,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(codes: &str) -> Option<ScopeSet> {
        match codes {
            "-" => None,
            codes => Some(codes.split_whitespace().collect()),
        }
    }

    #[test]
    fn scopes_follow_the_rfc() {
        use GrantType::{AuthorizationCode, ClientCredentials, RefreshToken};
        // kind, answered, asked, before → access, refresh, changed from
        for (kind, answered, asked, before, access, refresh, changed) in [
            (AuthorizationCode, "a b", "-", "-", "a b", "a b", "-"),
            (ClientCredentials, "-", "a", "-", "a", "a", "-"),
            // A code's scopes were asked for when it was made.
            (AuthorizationCode, "-", "a", "-", "-", "-", "-"),
            (AuthorizationCode, "-", "-", "-", "-", "-", "-"),
            // What was asked for is not what was given.
            (AuthorizationCode, "a", "a b", "-", "a", "a", "-"),
            (AuthorizationCode, "", "a", "-", "", "", "-"),
            // A code knows nothing of tokens before it.
            (AuthorizationCode, "-", "-", "a", "-", "-", "-"),
            (RefreshToken, "a b", "-", "a b", "a b", "a b", "-"),
            (RefreshToken, "-", "-", "a b", "a b", "a b", "-"),
            // Narrowed by the request: the refresh token stays what it was.
            (RefreshToken, "a", "a", "a b", "a", "a b", "a b"),
            (RefreshToken, "-", "a", "a b", "a", "a b", "a b"),
            // Narrowed by the vendor: the grant itself is less now.
            (RefreshToken, "a", "-", "a b", "a", "a", "a b"),
            // Widened, whoever asked.
            (RefreshToken, "a b", "-", "a", "a b", "a b", "a"),
            (RefreshToken, "a b", "a b", "a", "a b", "a b", "a"),
            // A refresh cannot ask for more, and gets what there was.
            (RefreshToken, "-", "a b", "a", "a", "a", "-"),
            // Nor for anything where nobody knows what there was.
            (RefreshToken, "-", "a", "-", "-", "-", "-"),
            // Narrowed by the request, and what it stood for is not known.
            (RefreshToken, "a", "a", "-", "a", "-", "-"),
        ] {
            let concluded = conclude(kind, set(answered), set(asked), set(before));
            let expected = Conclusion {
                access: set(access),
                refresh: set(refresh),
                changed: set(changed),
            };
            assert_eq!(concluded, expected, "{answered} | {asked} | {before}");
        }
    }
}
