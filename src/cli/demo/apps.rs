//! The demo's apps and what they call.

use crate::vendor::Vendor;

/// An app of the demo: a vendor, the token that its login brings with its scopes, and what it calls.
pub(super) struct App {
    pub(super) vendor: Vendor,
    pub(super) name: &'static str,
    pub(super) token: &'static str,
    pub(super) scopes: &'static [&'static str],
    pub(super) token_endpoint: &'static str,
    pub(super) calls: &'static [Call],
}

/// What an app calls: the operation as `explain` takes it, the request, and why it is shown.
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) request: &'static str,
    pub(super) body: &'static str,
    pub(super) why: &'static str,
}

pub(super) const APPS: [App; 3] = [
    App {
        vendor: Vendor::Bitrix24,
        name: "crm-sync",
        token: "demo-token-of-a-crm-sync-app",
        scopes: &["crm", "user_brief"],
        token_endpoint: "/oauth/token/",
        calls: &[
            Call {
                operation: "crm.deal.list",
                request: "GET /rest/crm.deal.list.json",
                body: "",
                why: "within the grant",
            },
            Call {
                operation: "user.current",
                request: "GET /rest/user.current.json",
                body: "",
                why: "within the grant: user_brief is one of three scopes that open it",
            },
            Call {
                operation: "telephony.externalCall.register",
                request: "GET /rest/telephony.externalCall.register.json",
                body: "",
                why: "outside: the app was never given telephony",
            },
            Call {
                operation: "batch",
                request: "POST /rest/batch.json",
                body: r#"{"cmd":{"deal":"crm.deal.get?id=7","task":"task.item.getdata?id=7"}}"#,
                why: "half of it: the deal is read, the task is answered as refused",
            },
            Call {
                operation: "crm.deal.lst",
                request: "GET /rest/crm.deal.lst.json",
                body: "",
                why: "a misspelt name: `crm.` is within the grant, and the portal knows no such method",
            },
        ],
    },
    App {
        vendor: Vendor::RingCentral,
        name: "dialer",
        token: "demo-token-of-a-dialer",
        scopes: &["EditExtensions", "RingOut"],
        token_endpoint: "/restapi/oauth/token",
        calls: &[
            Call {
                operation: "GET /restapi/v1.0/account/~/extension/~",
                request: "GET /restapi/v1.0/account/~/extension/~",
                body: "",
                why: "within the grant: EditExtensions includes ReadAccounts",
            },
            Call {
                operation: "GET /restapi/v1.0/account/~/user-role/default",
                request: "GET /restapi/v1.0/account/~/user-role/default",
                body: "",
                why: "outside: the default role needs RoleManagement, others do not",
            },
        ],
    },
    App {
        vendor: Vendor::LiveChat,
        name: "helpdesk-bot",
        token: "dal:demo-token-of-a-helpdesk-bot",
        scopes: &["chats--access:rw", "accounts--all:rw"],
        token_endpoint: "/v2/token",
        calls: &[
            Call {
                operation: "agent/send_event@3.6",
                request: "POST /v3.6/agent/action/send_event",
                body: r#"{"chat_id":"C","event":{"type":"message","text":"Hello"}}"#,
                why: "within the grant",
            },
            Call {
                operation: "configuration/create_agent@3.6",
                request: "POST /v3.6/configuration/action/create_agent",
                body: r#"{"id":"new@example.com","name":"New","role":"administrator"}"#,
                why: "outside: an agent yes, an administrator no",
            },
        ],
    },
];
