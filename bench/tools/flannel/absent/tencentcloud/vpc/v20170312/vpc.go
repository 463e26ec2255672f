// Package v20170312 has the calls that Flannel's Tencent backend makes; every one of them fails.
package v20170312

import "errors"

var errAbsent = errors.New("this build has no Tencent backend")

// Filter narrows down a question.
type Filter struct {
	Name   *string
	Values []*string
}

// Route is one of a table's routes.
type Route struct {
	DestinationCidrBlock *string
	GatewayType          *string
	GatewayId            *string
	RouteId              *uint64
	RouteType            *string
	Enabled              *bool
}

// RouteTable is a table of routes.
type RouteTable struct {
	RouteTableId *string
	RouteSet     []*Route
}

// DescribeRouteTablesRequest asks for tables.
type DescribeRouteTablesRequest struct{ Filters []*Filter }

// DescribeRouteTablesResponse has the tables.
type DescribeRouteTablesResponse struct {
	Response *struct{ RouteTableSet []*RouteTable }
}

// RoutesRequest names routes of a table.
type RoutesRequest struct {
	RouteTableId *string
	Routes       []*Route
}

// Client fails in every call.
type Client struct{}

// NewClientWithSecretId returns a client without a use.
func NewClientWithSecretId(string, string, string) (*Client, error) { return &Client{}, nil }

// NewDescribeRouteTablesRequest returns an empty question.
func NewDescribeRouteTablesRequest() *DescribeRouteTablesRequest {
	return &DescribeRouteTablesRequest{}
}

// NewDeleteRoutesRequest returns an empty request.
func NewDeleteRoutesRequest() *RoutesRequest { return &RoutesRequest{} }

// NewCreateRoutesRequest returns an empty request.
func NewCreateRoutesRequest() *RoutesRequest { return &RoutesRequest{} }

// DescribeRouteTables fails.
func (*Client) DescribeRouteTables(*DescribeRouteTablesRequest) (*DescribeRouteTablesResponse, error) {
	return nil, errAbsent
}

// DeleteRoutes fails.
func (*Client) DeleteRoutes(*RoutesRequest) (struct{}, error) { return struct{}{}, errAbsent }

// CreateRoutes fails.
func (*Client) CreateRoutes(*RoutesRequest) (struct{}, error) { return struct{}{}, errAbsent }
