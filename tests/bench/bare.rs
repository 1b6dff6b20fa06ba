//! The limit contestant: the same web framework, which reads the body and answers 200, and nothing else.
//!
//! What a gateway reaches of this server's rate is what its own work leaves. `bare 127.0.0.1:PORT [WORKERS]`.
#![forbid(unsafe_code)]

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let workers = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2);
    HttpServer::new(|| App::new().app_data(web::PayloadConfig::new(1 << 20)).default_service(web::to(answer)))
        .workers(workers)
        // A generator opens its connections before it needs them: no 408 on those.
        .client_request_timeout(Duration::ZERO)
        .keep_alive(Duration::from_secs(75))
        .bind(address)?
        .run()
        .await
}

async fn answer(body: web::Bytes) -> HttpResponse {
    std::hint::black_box(&body);
    HttpResponse::Ok().finish()
}
