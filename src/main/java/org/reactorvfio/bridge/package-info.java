/**
 * Devices over the network: a server that exports devices of this process, and a client that is a transport like any other. Needs
 * {@code reactor-netty-http} and {@code jackson-core}, which the rest of the library does not.
 *
 * <p>The server has two faces under one set of permissions: JSON and Server-Sent Events over HTTP for people and browsers, and binary
 * frames over WebSocket, with explicit demand, for {@link org.reactorvfio.bridge.VfioRemote}. docs/bridge.md describes both.
 */
@NullMarked
package org.reactorvfio.bridge;

import org.jspecify.annotations.NullMarked;
