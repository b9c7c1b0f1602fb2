<?php
// Reads a request as a Bitrix24 portal does, and says what it would run: written from PHP's behaviour and from what is
// known of the portal, not from the gate. Run by `php -S`, with nginx in front where there is one.

function page_path(string $uri): string
{
    // The path is decoded as a whole, slashes are merged, dot segments resolved.
    $path = rawurldecode(explode('?', $uri, 2)[0]);
    $path = preg_replace('#/+#', '/', str_replace('\\', '/', $path));
    $kept = [];
    foreach (explode('/', $path) as $segment) {
        if ($segment === '..') {
            array_pop($kept);
        } elseif ($segment !== '.') {
            $kept[] = $segment;
        }
    }
    return '/' . ltrim(implode('/', $kept), '/');
}

function parameters(bool $rest3): array
{
    $parameters = $_GET;
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        return $parameters;
    }
    $body = $_POST;
    if ($body === []) {
        $raw = trim(file_get_contents('php://input'), " \0\x0B");
        $type = explode(';', $_SERVER['CONTENT_TYPE'] ?? $_SERVER['HTTP_CONTENT_TYPE'] ?? '', 2)[0];
        if (trim($type) === 'application/json') {
            $decoded = json_decode($raw, true);
            $body = is_array($decoded) ? $decoded : [];
        } elseif (!str_starts_with(strtolower($type), 'multipart/')) {
            parse_str($raw, $body);
        }
    }
    foreach ($body as $name => $value) {
        $parameters[$name] = $value;
    }
    return $parameters;
}

function route(string $path): ?array
{
    $one = '([^/]+?)';
    foreach (['api/' => 'v3', '' => 'v2'] as $prefix => $api) {
        if (preg_match("#^/rest/{$prefix}{$one}/{$one}/{$one}/?$#", $path, $found)) {
            return [$api, $found[3], $found[1] . '/' . $found[2]];
        }
        if (preg_match("#^/rest/{$prefix}{$one}/?$#", $path, $found) && !($api === 'v2' && $found[1] === 'api')) {
            return [$api, $found[1], null];
        }
    }
    return null;
}

/** Lower case as a multibyte function has it: the sign for Kelvin becomes a `k`. */
function folded(string $name): string
{
    return function_exists('mb_strtolower') ? mb_strtolower($name) : strtolower(strtr($name, ["\u{212A}" => 'k']));
}

function method_name(string $name, string $api): string
{
    if ($api === 'v2') {
        $name = preg_replace('#\.(json|xml)$#', '', folded($name));
    }
    return folded($name);
}

/** The values that a method's need hangs on, wherever the portal folds their names. */
function choices(array $parameters): array
{
    $choices = [];
    foreach ($parameters as $name => $value) {
        $folded = strtolower((string) $name);
        if (in_array($folded, ['event', 'placement', 'moduleid'], true)) {
            $choices[$folded] = is_string($value) ? $value : null;
        }
    }
    ksort($choices);
    return $choices;
}

function commands_v2(array $parameters): array
{
    $folded = [];
    foreach ($parameters as $name => $value) {
        $folded[strtoupper((string) $name)] = $value;
    }
    $commands = [];
    foreach (is_array($folded['CMD'] ?? null) ? $folded['CMD'] : [] as $key => $command) {
        if (!is_string($command)) {
            continue;
        }
        $url = parse_url($command);
        $query = [];
        parse_str($url['query'] ?? '', $query);
        $commands[] = [
            'key' => (string) $key,
            'method' => folded($url['path'] ?? ''),
            'choices' => choices($query),
            'token' => array_key_exists('token', $query),
        ];
    }
    return [array_slice($commands, 0, 50), (bool) ($folded['HALT'] ?? false)];
}

function commands_v3(array $parameters): array
{
    $commands = [];
    foreach ($parameters as $key => $item) {
        if (is_array($item) && isset($item['method'])) {
            $commands[] = [
                'key' => (string) $key,
                'method' => is_string($item['method']) ? folded($item['method']) : '?',
                'choices' => [],
                'token' => false,
            ];
        }
    }
    return [$commands, false];
}

$uri = $_SERVER['REQUEST_URI'];
$route = route(page_path($uri));
$rest3 = $route !== null && $route[0] === 'v3';
$parameters = parameters($rest3);
if (isset($parameters['SEF_APPLICATION_CUR_PAGE_URL']) && is_string($parameters['SEF_APPLICATION_CUR_PAGE_URL'])) {
    $route = route(page_path($parameters['SEF_APPLICATION_CUR_PAGE_URL']));
}
if (preg_match('#404;https?://[^/]*(/.*)$#i', $uri, $found)) {
    $route = route(page_path($found[1]));
}
$webhook = $route[2] ?? null;
if ($route === null && is_string($parameters['method'] ?? null)) {
    $route = ['v2', $parameters['method'], null];
    if (isset($parameters['aplogin'], $parameters['ap'])) {
        $webhook = $parameters['aplogin'] . '/' . $parameters['ap'];
    }
}

$token = null;
$header = $_SERVER['HTTP_AUTHORIZATION'] ?? '';
if (preg_match('#^Bearer\s+(.*)$#i', $header, $found)) {
    $token = $found[1];
} elseif (isset($parameters['auth']) && is_scalar($parameters['auth'])) {
    $token = (string) $parameters['auth'];
} elseif (isset($parameters['access_token']) && is_scalar($parameters['access_token'])) {
    $token = (string) $parameters['access_token'];
}
if ($token === '') {
    $token = null;
}
$method = $route === null ? null : method_name($route[1], $route[0]);
[$commands, $halt] = [[], false];
if ($method === 'batch') {
    [$commands, $halt] = $rest3 ? commands_v3($parameters) : commands_v2($parameters);
}

header('Content-Type: application/json');
echo json_encode([
    'api' => $route[0] ?? null,
    'method' => $method,
    // An access token decides before a webhook.
    'credential' => $token ?? $webhook,
    'signed' => isset($parameters['token']),
    'choices' => choices($parameters),
    'commands' => $commands,
    'halt' => $halt,
], JSON_INVALID_UTF8_SUBSTITUTE);
