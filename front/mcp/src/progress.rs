//! Telling a client that waits what is going on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rmcp::{
    RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
    service::{Peer, RequestContext},
};

/// Where progress is told, if anybody asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    listener: Option<(Peer<RoleServer>, ProgressToken)>,
    started: std::time::Instant,
    silent: Arc<AtomicBool>,
}

impl Progress {
    /// To whoever sent this request, where it asked.
    pub(crate) fn of(context: &RequestContext<RoleServer>) -> Self {
        let token = context.meta.get_progress_token();
        Self {
            listener: token.map(|token| (context.peer.clone(), token)),
            started: std::time::Instant::now(),
            silent: Arc::default(),
        }
    }

    /// To nobody.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        Self { listener: None, started: std::time::Instant::now(), silent: Arc::default() }
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.listener.is_some() && !self.silent.load(Ordering::Relaxed)
    }

    /// Says nothing any more.
    pub(crate) fn silence(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// Says what is going on; the number told is the seconds since the call began, which grows.
    pub(crate) async fn tell(&self, message: impl Into<String>) {
        if let Some((peer, token)) = &self.listener
            && self.is_heard()
        {
            let seconds = self.started.elapsed().as_secs_f64();
            let told = ProgressNotificationParam::new(token.clone(), seconds).with_message(message);
            // A client that went hears of nothing any more; the call's end is told elsewhere.
            let _ = peer.notify_progress(told).await;
        }
    }
}
